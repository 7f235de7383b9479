// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/test/s3/s3server"
)

// objectStore is where the workers keep their checkpoints: a folder, or an S3 server behind a line that can be cut.
type objectStore struct {
	url  string
	line *line // nil: a folder
	stop func()
}

func openStore(ctx context.Context, dir string, s3 bool) (*objectStore, error) {
	folder := filepath.Join(dir, "store")
	if !s3 {
		return &objectStore{url: "file://" + folder}, nil
	}
	endpoint, stop, err := s3server.Launch(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("start an S3 server: %w", err)
	}
	l, err := newLine(strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		stop()
		return nil, err
	}
	// The workers inherit the credentials.
	err = errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", s3server.AccessKey), os.Setenv("AWS_SECRET_ACCESS_KEY", s3server.SecretKey))
	url := fmt.Sprintf("s3://%s/checkpoints?endpoint=http://%s&region=%s", s3server.Bucket, l.listener.Addr(), s3server.Region)
	return &objectStore{url: url, line: l, stop: stop}, err
}

func (s *objectStore) close() error {
	if s.line == nil {
		return nil
	}
	err := s.line.close()
	s.stop()
	return err
}

// line passes connections on to an address until it is cut.
type line struct {
	to       string
	listener net.Listener
	mu       struct {
		sync.Mutex
		cut  bool
		open map[net.Conn]bool
	}
}

func newLine(to string) (*line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the line to the object store: %w", err)
	}
	l := &line{to: to, listener: listener}
	l.mu.open = map[net.Conn]bool{}
	go l.serve()
	return l, nil
}

func (l *line) serve() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		go l.pass(from)
	}
}

// pass copies both ways until either side or the line ends.
func (l *line) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !l.enter(from, to) {
		return
	}
	defer l.leave(from, to)
	var both sync.WaitGroup
	both.Go(func() { pipe(to, from) })
	both.Go(func() { pipe(from, to) })
	both.Wait()
}

// pipe copies until one side ends, and ends the other.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}

func (l *line) enter(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.cut {
		return false
	}
	for _, c := range conns {
		l.mu.open[c] = true
	}
	return true
}

func (l *line) leave(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		delete(l.mu.open, c)
	}
}

// cut ends all connections and lets no new one through, or lets them through again.
func (l *line) cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cut = cut
	if cut {
		for c := range l.mu.open {
			c.Close()
		}
	}
}

func (l *line) close() error {
	l.cut(true)
	return l.listener.Close()
}

// outage cuts the workers off from their object store. Processing must go on, the age of the checkpoints must rise,
// and both must heal by themselves.
func (r *run) outage(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	o := &outage{Length: r.opts.Outage}
	o.AgeBefore, _ = r.oldestCheckpoint(ctx)
	before := r.watcher.seen.Load()
	r.say("object store: cut off for %v; the oldest checkpoint is %.1f s old", o.Length, o.AgeBefore)
	r.store.line.cut(true)
	if err := wait(ctx, o.Length); err != nil {
		return err
	}
	o.AgeAtEnd, _ = r.oldestCheckpoint(ctx)
	o.Outputs = r.watcher.seen.Load() - before
	r.store.line.cut(false)
	healed := time.Now()
	if o.Outputs == 0 {
		r.faults.add("object store away for %v: no output was committed in this time; %s", o.Length, r.describe(ctx))
	}
	if o.AgeAtEnd < o.AgeBefore {
		r.faults.add("object store away for %v: the age of the oldest checkpoint went from %.1f s to %.1f s, it should rise", o.Length, o.AgeBefore, o.AgeAtEnd)
	}
	for deadline := time.Now().Add(comebackLimit); ; {
		age, known := r.oldestCheckpoint(ctx)
		if known && age < time.Since(healed).Seconds() {
			break
		}
		if time.Now().After(deadline) {
			r.faults.add("object store back for %v: the oldest checkpoint is still %.1f s old", comebackLimit, age)
			break
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	o.Healed = time.Since(healed)
	r.say("object store: %d outputs while it was away, age rose to %.1f s, new checkpoints of all tasks %.1f s after", o.Outputs, o.AgeAtEnd, o.Healed.Seconds())
	r.result.Outage = o
	return r.workers.reap()
}

// oldestCheckpoint is the age in seconds of the oldest task checkpoint of all workers; false where one does not say.
func (r *run) oldestCheckpoint(ctx context.Context) (oldest float64, known bool) {
	known = true
	for _, p := range r.workers.all {
		age, ok := p.checkpointAge(ctx)
		oldest, known = max(oldest, age), known && ok
	}
	return oldest, known
}
