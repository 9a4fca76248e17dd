package view

import "context"

// Resolve finds a path as a process in a chroot at the root would: symbolic
// links are followed inside the view, the last one only with follow. Failures
// are ErrNotExist, ErrNotDir or ErrLoop, naming how far the path goes.
func (v *View) Resolve(ctx context.Context, path string, follow bool) (Attr, error) {
	panic("todo")
}

// Walk calls fn for path and everything below it, depth first, a directory
// before its children and those in the order of their bytes. Paths begin with
// a slash. When fn returns fs.SkipDir for a directory, Walk leaves that out; any
// other error ends it. A symbolic link as the last element is not followed.
func (v *View) Walk(ctx context.Context, path string, fn func(path string, a Attr) error) error {
	panic("todo")
}
