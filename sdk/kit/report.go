// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import (
	"strconv"
	"strings"
)

// What is checked is told by emit(2), one line a check: "ok RULE: what", or
// "FAIL RULE: what". Failures are also logged as errors, for runs whose lines
// the host drops, and make the reason of result 1.
var (
	passed   = map[string]int{} // by rule
	order    []string           // rules in the order of their first check
	failures []string
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// name writes a query for people.
func name(op, root uint32, key string) string {
	if len(key) > 60 {
		key = key[:60] + "…"
	}
	return "query " + itoa(int64(op)) + " of root " + itoa(int64(root)) + " for " + strconv.QuoteToASCII(key)
}

func fail(rule, what string) { failures = append(failures, rule+": "+what) }

// check holds a rule against one fact.
func check(rule string, ok bool, what string) {
	if passed[rule] == 0 {
		order = append(order, rule)
	}
	passed[rule]++
	if !ok {
		fail(rule, what)
	}
}

// is holds a query to its answer.
func is(rule string, op, root uint32, key, want string) {
	n, got := answer(op, root, key)
	ok := n == int64(len(want)) && got == want
	what := ""
	if !ok {
		what = name(op, root, key) + ": got " + itoa(n) + " " + strconv.QuoteToASCII(got) + ", want " + strconv.QuoteToASCII(want)
	}
	check(rule, ok, what)
}

// code holds a query to its error.
func code(rule string, op, root uint32, key string, want int64) {
	n, _ := ask(op, root, key, 64)
	check(rule, n == want, name(op, root, key)+": got "+itoa(n)+", want "+itoa(want))
}

// list is the answer that a list of strings must be.
func list(items ...string) string {
	var b strings.Builder
	for _, s := range items {
		b.WriteString(s + "\x00")
	}
	return b.String()
}

// finish tells what was found, and is the run's result.
func finish() int32 {
	for _, rule := range order {
		emit(emitExplain, "ok "+rule+": "+itoa(int64(passed[rule]))+" checks")
	}
	if len(failures) == 0 {
		return 0
	}
	for _, f := range failures {
		emit(emitExplain, "FAIL "+f)
		log(3, "FAIL "+f)
	}
	reason := "FAIL " + strings.Join(failures, "; ")
	if len(reason) > 4000 {
		reason = reason[:4000] // ASCII but for one …, of which a part may be cut
	}
	emit(emitReason, strings.ToValidUTF8(reason, ""))
	return 1
}
