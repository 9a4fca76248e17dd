// Command peelfs mounts container images lazily, and looks into them.
//
// Each command is in a file of its own, under its name: a function that makes it,
// with its flags, and functions of a context, a console and a session that do the
// work. What commands share is made in session.go (the cache, the registry client,
// the tag store) and app.go (the environment, the streams); errors become a
// message, a hint and an exit code in report.go.
package main

import "os"

// version and date, that of the last change, are stamped by the Makefile.
var version, date = "dev", ""

func main() { os.Exit(program(os.Args)) }

// program chooses what to be: the process behind a mount, mount(8)'s helper, or a
// command.
func program(args []string) int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	if isDaemon(a.env) {
		return daemonMain(a)
	}
	if isHelper(args) {
		return helperMain(a, args[1:])
	}
	return a.run(args[1:])
}
