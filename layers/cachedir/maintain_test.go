package cachedir

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// aLayer makes the directory of a layer, without an index, that was used days ago.
func aLayer(t *testing.T, c *Cache, name string, days int) (digest.Digest, string) {
	t.Helper()
	d := digest.FromString(name)
	dir, err := c.LayerDir(d)
	must(t, err)
	lock, err := Open(t.Context(), dir, Use)
	must(t, err)
	must(t, lock.Close())
	then := time.Now().AddDate(0, 0, -days)
	must(t, os.Chtimes(filepath.Join(dir, LockName), then, then))
	return d, dir
}

func TestListIsLeastRecentlyUsedFirst(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	young, _ := aLayer(t, c, "young", 1)
	old, dir := aLayer(t, c, "old", 2)
	must(t, c.Pin(old))
	lease, err := Open(t.Context(), dir, Peek)
	must(t, err)
	defer lease.Close()
	all := c.List()
	if len(all) != 2 || all[0].Digest != old || all[1].Digest != young {
		t.Fatalf("%+v", all)
	}
	if !all[0].Pinned || all[1].Pinned || c.InUse(all[0]) || c.InUse(all[1]) {
		t.Errorf("%+v", all)
	}
}

func TestPruneLeavesPinnedKeptAndUsedLayers(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	idle, idleDir := aLayer(t, c, "idle", 1)
	pin, _ := aLayer(t, c, "pin", 1)
	kept, _ := aLayer(t, c, "kept", 1)
	_, usedDir := aLayer(t, c, "used", 1)
	must(t, c.Pin(pin))
	lease, err := Open(t.Context(), usedDir, Use)
	must(t, err)
	opt := PruneOptions{Keep: func(d digest.Digest) bool { return d == kept }, DryRun: true}
	for _, opt.DryRun = range []bool{true, false} {
		p, err := c.Prune(opt)
		if err != nil || len(p.Layers) != 1 || p.Layers[0] != idle || p.InUse != 1 {
			t.Errorf("dry %v: %+v, %v", opt.DryRun, p, err)
		}
		if exists(idleDir) != opt.DryRun {
			t.Errorf("dry %v: the idle layer's directory is there: %v", opt.DryRun, exists(idleDir))
		}
	}
	must(t, lease.Close())
	must(t, c.Unpin(pin))
	if p, err := c.Prune(PruneOptions{}); err != nil || len(p.Layers) != 3 || len(c.List()) != 0 {
		t.Errorf("%+v, %v; left: %+v", p, err, c.List())
	}
}

func TestVerifyRemovesDamagedIndexes(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	d, dir := aLayer(t, c, "damaged", 1)
	must(t, os.WriteFile(filepath.Join(dir, IndexName), []byte("no index at all"), 0o600))
	if !c.HasIndex(d) {
		t.Error("the index is not seen")
	}
	var found []Problem
	_, err := c.Verify(t.Context(), func(p Problem) { found = append(found, p) })
	if err != nil || len(found) != 1 || found[0].Digest != d || c.HasIndex(d) {
		t.Errorf("%+v, %v; index there: %v", found, err, c.HasIndex(d))
	}
}

// Somebody else makes an index just now: it is waited for, until the caller goes.
func TestVerifyWaitsForIndexesThatAreMade(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	d, dir := aLayer(t, c, "made", 1)
	must(t, os.WriteFile(filepath.Join(dir, IndexName), []byte("no index at all"), 0o600))
	maker, err := Open(t.Context(), dir, Peek)
	must(t, err)
	defer maker.Close()
	must(t, maker.Lock(t.Context(), MakeLock, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Verify(ctx, func(p Problem) { t.Errorf("%+v", p) }); err == nil || !c.HasIndex(d) {
		t.Errorf("%v; index there: %v", err, c.HasIndex(d))
	}
}

// A layer that is removed while Verify comes to it is no damage.
func TestVerifyDoesNotMissWhatIsRemoved(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	_, dir := aLayer(t, c, "gone", 1)
	var v Verified
	report := func(p Problem) { t.Errorf("false alarm: %+v", p) }
	must(t, c.verifyLayer(t.Context(), dir, &v, report))
	must(t, os.RemoveAll(dir))
	must(t, c.verifyLayer(t.Context(), dir, &v, report))
}

func TestJanitorsTakeTurns(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	_, dir := aLayer(t, c, "data", 1)
	data := filepath.Join(dir, "data.tar")
	must(t, os.WriteFile(data, make([]byte, 1<<20), 0o600))
	other := c.Janitor(1)
	turn, err := c.Janitor(1).turn()
	must(t, err)
	other.Clean(1)
	if !exists(data) {
		t.Error("two janitors clean at once")
	}
	must(t, turn.Close())
	other.Clean(1)
	if exists(data) {
		t.Error("data that nobody has open stays")
	}
	if !other.Outgrows(1) || c.Janitor(0).Outgrows(1<<40) {
		t.Error("the bound is not gone by")
	}
}
