// Package archtest holds the project to its own rules.
//
// It has no code, only tests over the source: who may import whom, how long a
// function or file may be, which words and calls may not occur, and that what
// the documents point at exists. A rule that a test does not hold is a wish.
package archtest
