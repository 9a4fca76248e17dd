package fusefs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// readAheadKiB is how far the kernel reads ahead once all data is local. Before
// that it would only inflate what a sparse mapping fetches.
const readAheadKiB = 1024

// raiseReadAhead needs root; for others the kernel's default stays.
func raiseReadAhead(major, minor int) error {
	return writeString(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", major, minor), strconv.Itoa(readAheadKiB))
}

func writeString(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// kernelPatience is a fraction of the time after which this kernel aborts a
// connection that leaves a request unanswered; 0 if it never does.
func kernelPatience() time.Duration {
	var least time.Duration
	for _, name := range []string{"max_request_timeout", "default_request_timeout"} {
		text, err := os.ReadFile("/proc/sys/fs/fuse/" + name)
		if err != nil {
			continue
		}
		seconds, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || seconds <= 0 {
			continue
		}
		if d := time.Duration(seconds) * time.Second * 3 / 4; least == 0 || d < least {
			least = d
		}
	}
	return least
}

// budget is how long a request may wait: what the options say, but never so
// long that the kernel loses patience.
func (o *Options) budget() time.Duration {
	wait := o.IOTimeout
	if wait <= 0 {
		wait = DefaultIOTimeout
	}
	if limit := kernelPatience(); limit > 0 && limit < wait {
		return limit
	}
	return wait
}
