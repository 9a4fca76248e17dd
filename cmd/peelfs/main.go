// Command peelfs mounts container images lazily, and looks into them.
//
// Each command is in a file of its own and does three things: flags to calls,
// results to stdout, errors to a message, a hint and an exit code. What the
// commands share (the cache, the registry client, the tag store, the
// environment) is set up in app.go and nowhere else.
package main

import "os"

// version is stamped by the Makefile.
var version = "dev"

func main() { os.Exit(program(os.Args)) }

// program chooses what to be: the process behind a mount, mount(8)'s helper, or a
// command.
func program(args []string) int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	if isDaemon(a.env) {
		return a.daemonMain()
	}
	if isHelper(args) {
		return a.helperMain(args[1:])
	}
	return a.run(args[1:])
}
