// SPDX-License-Identifier: Apache-2.0

// Command cri makes one call of Kubernetes' Container Runtime Interface, as a
// kubelet does, and prints the answer. Request and answer are JSON:
//
//	cri /run/containerd/containerd.sock RuntimeService/Version '{}'
//
// It stands in for crictl in the tests of engines, and is a module of its own so
// that neither Kubernetes nor gRPC is a dependency of tenon.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "k8s.io/cri-api/pkg/apis/runtime/v1" // registers its services and messages
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET SERVICE/METHOD REQUEST")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	answer, err := call(ctx, os.Args[1], os.Args[2], []byte(os.Args[3]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(answer))
}

// call makes the call. The error of the server is the error returned, word for
// word.
func call(ctx context.Context, socket, method string, request []byte) ([]byte, error) {
	const api = "runtime.v1." // the package in api.proto
	name := protoreflect.FullName(api + strings.ReplaceAll(method, "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok || descriptor.IsStreamingServer() {
		return nil, fmt.Errorf("%s: is not a method with one answer", method)
	}
	input, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Input().FullName())
	if err != nil {
		return nil, err
	}
	output, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Output().FullName())
	if err != nil {
		return nil, err
	}
	in, out := input.New().Interface(), output.New().Interface()
	if err := protojson.Unmarshal(request, in); err != nil {
		return nil, fmt.Errorf("%s: request: %w", method, err)
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.Invoke(ctx, "/"+api+method, in, out); err != nil {
		return nil, err
	}
	return protojson.Marshal(out)
}
