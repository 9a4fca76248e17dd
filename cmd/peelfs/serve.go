package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

// mount mounts in the background, or serves the mount itself.
func mount(ctx context.Context, a *app, f *mountFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	r, err := newMountRequest(args)
	if err != nil {
		return err
	}
	if a.daemon != nil || f.foreground {
		return serveWith(ctx, a, f, r, (*mounted).start)
	}
	msg, err := startDaemon(ctx, a, r)
	if err != nil || r.given {
		return err
	}
	_, err = fmt.Fprintln(a.console.Out, msg.Mountpoint)
	return err
}

// mounted is one mount, from before it exists until after it is gone.
//
//	preparing -> serving   the mount answers, its record is there, ready was told
//	serving   -> leaving   it was unmounted, by us after a signal or by anybody
//	preparing -> leaving   something failed
//	leaving                record, directory and log that were made for it go
type mounted struct {
	app     *app
	flags   *mountFlags
	s       *session
	r       mountRequest
	table   *mounttab.Table
	stack   *stack
	shown   presented
	squash  fusefs.Squash
	display *bars
	signals chan os.Signal // those that came since before the mount was there
	record  mounttab.Mount
	lease   *mounttab.Lease
	server  atomic.Pointer[fusefs.Server] // the live file asks for it, from the start
}

// serveWith serves what start mounts at the directory of r.
func serveWith(ctx context.Context, a *app, f *mountFlags, r mountRequest, start func(*mounted, context.Context) (*fusefs.Server, error)) (err error) {
	debug.SetGCPercent(25)      // the buffers of many readers would make half of the heap garbage
	signal.Ignore(unix.SIGPIPE) // a log that nobody reads must not end the mount
	m := &mounted{app: a, flags: f, r: r, signals: make(chan os.Signal, 4)}
	defer signal.Stop(m.signals)
	if m.squash, err = f.presentation.squash(); err != nil {
		return err
	}
	if m.table, err = a.mounts(); err != nil {
		return err
	}
	if err := m.chooseDirectory(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.leave()) }()
	return withSession(a, &f.sessionFlags, func(s *session) error {
		m.s = s
		server, err := start(m, ctx)
		if err != nil || server == nil {
			return err
		}
		return m.serve(ctx, server)
	})
}

// chooseDirectory checks the mountpoint, before anything is asked of a
// registry, and makes it if the user named none. A mount that a
// killed process left there is cleared.
func (m *mounted) chooseDirectory() error {
	if err := clearStale(m.table, m.r.dir); err != nil {
		return err
	}
	made, err := m.r.prepare()
	if err != nil {
		return err
	}
	m.record.Made = made
	if err = fusefs.ClearDead(m.r.dir); err == nil {
		err = fusefs.CheckMountpoint(m.r.dir)
	}
	if err == nil {
		m.r.dir, err = filepath.EvalSymlinks(m.r.dir)
	}
	if err != nil {
		return errors.Join(err, m.leave())
	}
	return nil
}

// start resolves the image, mounts it, records the mount and tells the process that
// waits.
func (m *mounted) start(ctx context.Context) (*fusefs.Server, error) {
	img, err := m.s.resolve(ctx, m.r.ref)
	if err != nil {
		return nil, err
	}
	if m.stack, err = m.s.stack(img); err != nil {
		return nil, err
	}
	if m.shown, err = m.flags.presentation.present(ctx, m.stack, m.s.symlinks); err != nil {
		return nil, err
	}
	m.describe(img)
	return m.mount(func() (*fusefs.Server, error) { return fusefs.Mount(m.r.dir, m.stack.view, m.options(img)) })
}

// mount mounts, records it and tells the process that waits. It returns nil if that
// was only to be tried.
func (m *mounted) mount(mount func() (*fusefs.Server, error)) (*fusefs.Server, error) {
	if m.flags.presentation.fake {
		return nil, m.ready()
	}
	signal.Notify(m.signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // from here on they mean: unmount
	if m.app.daemon != nil {
		signal.Ignore(unix.SIGHUP)
	}
	server, err := mount()
	if err != nil {
		return nil, err
	}
	m.server.Store(server)
	m.record.MountID = server.MountID()
	if m.lease, err = m.table.Add(m.record); err == nil {
		err = m.ready()
	}
	if err != nil {
		return nil, errors.Join(err, server.Unmount(true))
	}
	return server, nil
}

// ready tells the process that started this one that the mount answers.
func (m *mounted) ready() error {
	if m.app.daemon != nil {
		return m.app.daemon.detach(m.r.dir)
	}
	if err := notifyReady(m.app.env("NOTIFY_SOCKET")); err != nil {
		m.app.console.Warn("systemd could not be told: %s", err)
	}
	if !m.r.given {
		fmt.Fprintln(m.app.console.Out, m.r.dir)
	}
	m.app.console.Say("%s is mounted on %s; Ctrl-C unmounts", m.record.Reference, m.r.dir)
	return nil
}

// describe fills in the record.
func (m *mounted) describe(img *fetch.Image) {
	m.record.Options = m.flags.recorded()
	m.describeImage(img)
	m.describeProcess()
}

func (m *mounted) describeImage(img *fetch.Image) {
	m.record.Mountpoint = m.r.dir
	m.record.Reference, m.record.Digest = img.Reference.String(), img.Digest.String()
	m.record.Platform = fetch.FormatPlatform(img.Platform)
	m.record.Digests = []string{img.Digest.String(), img.ManifestDigest.String()}
	for _, l := range img.Layers {
		m.record.Digests = append(m.record.Digests, l.Descriptor.Digest.String())
		if l.Alias != "" {
			m.record.Aliases = append(m.record.Aliases, l.Alias)
		}
	}
}

// describeProcess fills in what is this process's.
func (m *mounted) describeProcess() {
	m.record.Mountpoint = m.r.dir
	m.record.PID, m.record.Since = os.Getpid(), time.Now().UTC().Truncate(time.Second)
	if m.app.daemon != nil {
		m.record.Log = m.app.flags.logFile
		if m.record.Log == "" {
			m.record.Log = m.table.Path(os.Getpid(), ".log")
		}
		m.app.daemon.log = m.record.Log
	}
}

func (m *mounted) options(img *fetch.Image) fusefs.Options {
	made := img.LayerHistory()
	fixed := func(data []byte) fusefs.File {
		return fusefs.File{Read: func() ([]byte, error) { return data, nil }}
	}
	history := sync.OnceValues(func() ([]byte, error) { // not while mounting: it looks at all layers
		data, err := json.MarshalIndent(historyOf(img, m.stack.status()), "", "  ")
		return append(data, '\n'), err
	})
	return fusefs.Options{
		FSName:     "peelfs:" + img.Reference.Name() + "@" + img.Digest.String(),
		AllowOther: m.flags.allowOther, Logger: m.app.log, IOTimeout: m.flags.ioTimeout,
		Suid: m.flags.presentation.suid, Dev: m.flags.presentation.dev, NoExec: m.flags.presentation.noexec,
		Top: m.shown.top, Extra: m.shown.extra, Squash: m.squash,
		Image:     img.Reference.Name() + "@" + img.Digest.String(),
		LayerName: func(n int) string { return m.stack.layers[n].Digest().String() },
		CreatedBy: func(n int) string {
			if made[n] == nil {
				return ""
			}
			return made[n].CreatedBy
		},
		Files: map[string]fusefs.File{
			"manifest.json": fixed(img.RawManifest),
			"config.json":   fixed(img.RawConfig),
			"history.json":  {Read: history},
			"status.json":   {Live: true, Read: m.status},
		},
		Usage:    func() fusefs.Usage { return fusefs.Usage{Bytes: img.Size} },
		Complete: m.stack.complete,
	}
}

// complete reports whether all data is local.
func (st *stack) complete() bool {
	for _, l := range st.layers {
		if l.Status().State != layers.Complete {
			return false
		}
	}
	return true
}

// status is what .peelfs/status.json shows.
func (m *mounted) status() ([]byte, error) {
	st := mountStatus{
		Mountpoint: m.record.Mountpoint, Reference: m.record.Reference, Digest: m.record.Digest,
		Platform: m.record.Platform, PID: m.record.PID, Since: m.record.Since, Log: m.record.Log,
	}
	st.Requests = m.s.client.Stats().Requests + m.s.quick.Stats().Requests
	for i, l := range m.stack.status() {
		st.Layers = append(st.Layers, layerStatus{i, l})
		st.BytesFetched += l.Fetched
	}
	if server := m.server.Load(); server != nil {
		stats := server.Stats()
		st.Operations, st.BytesRead = stats.Requests, stats.BytesRead
		st.Waits, st.Slow, st.Failed = stats.Waits, stats.Slow, stats.Failed
	}
	data, err := json.MarshalIndent(st, "", "  ")
	return append(data, '\n'), err
}

// serve waits until the mount is gone. The first signal unmounts it; if it is in
// use, the second one takes it away by force. SIGTERM and SIGHUP do so at once: a
// service manager follows SIGTERM with SIGKILL, and a terminal that is gone sends
// nothing more.
func (m *mounted) serve(ctx context.Context, server *fusefs.Server) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	prefetched := m.prefetch(ctx)
	defer func() { cancel(); <-prefetched }()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	show, stopShowing, err := m.live()
	if err != nil {
		return errors.Join(err, server.Unmount(true))
	}
	defer stopShowing()
	for asked, seen := 0, int64(-1); ; {
		select {
		case <-server.Done():
			return nil
		case <-show:
			m.display.show(m.stack.moving())
		case <-tick.C:
			if now := m.s.client.Stats().Bytes; now != seen {
				seen = now
				server.LayersComplete()
			}
		case sig := <-m.signals:
			asked++
			force := asked > 1 || sig != unix.SIGINT
			m.stop(server, force)
			if force && !ends(server) {
				m.app.console.Warn("%s is unmounted, and whoever still uses it gets errors from now on", m.r.dir)
				return nil // the end of the process ends the kernel's connection
			}
		}
	}
}

// live is when to show what is on its way: often, in the foreground on a
// terminal, and never elsewhere.
func (m *mounted) live() (show <-chan time.Time, stop func(), err error) {
	if m.display, err = newBars(m.app.console, m.flags.progress); err != nil {
		return nil, nil, err
	}
	if m.app.daemon != nil || m.display.display.Mode() != progress.Bar {
		return nil, func() {}, nil
	}
	tick := time.NewTicker(200 * time.Millisecond)
	return tick.C, func() { tick.Stop(); m.display.end() }, nil
}

// stop unmounts, by force if need be and force is set.
func (m *mounted) stop(server *fusefs.Server, force bool) {
	err := server.Unmount(false)
	if err != nil && force {
		err = server.Unmount(true)
	}
	if err != nil {
		m.app.console.Complain(err)
		m.app.console.Say("Ctrl-C once more unmounts by force")
	}
}

// ends waits a moment for the server to be through. It is not while somebody,
// perhaps in another mount namespace, holds on to the mount.
func ends(server *fusefs.Server) bool {
	select {
	case <-server.Done():
		return true
	case <-time.After(time.Second):
		return false
	}
}

// prefetch fetches what --prefetch says, below what the mount's users wait for,
// top layer first. The channel closes when it is through.
func (m *mounted) prefetch(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	bring := (*layers.Layer).Prefetch
	switch m.flags.prefetch {
	case "none":
		close(done)
		return done
	case "all":
		bring = (*layers.Layer).FillInBackground
	}
	go func() {
		defer close(done)
		for i := len(m.stack.layers) - 1; i >= 0 && ctx.Err() == nil; i-- {
			if err := bring(m.stack.layers[i], ctx); err != nil && ctx.Err() == nil {
				m.app.log.Warn("prefetch failed", "layer", i, "error", err)
			}
		}
	}()
	return done
}

// leave removes what was made for the mount.
func (m *mounted) leave() error {
	var errs []error
	if m.record.Made {
		if err := os.Remove(m.r.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, errkind.New(errkind.Mountpoint, "remove the mountpoint: %w", err))
		}
	}
	if m.record.Log != "" && m.app.flags.logFile == "" {
		_ = os.Remove(m.record.Log) // it ended well: nobody will read it
	}
	if m.lease != nil {
		errs = append(errs, m.lease.Release())
	}
	return errors.Join(errs...)
}
