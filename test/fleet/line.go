// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Line passes connections on to an address, as a network would, until it is cut, falls silent or becomes slow. It needs no
// rights and no help of the system, so that it is the same on every machine.
type Line struct {
	listener net.Listener
	mu       struct {
		sync.Mutex
		to     string
		cut    bool
		silent chan struct{} // closed when the silence ends; nil: there is none
		delay  time.Duration // of what is sent, each way
		open   map[net.Conn]bool
	}
}

// OpenLine opens a line that leads nowhere yet: what connects is turned away.
func OpenLine() (*Line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a line: %w", err)
	}
	l := &Line{listener: listener}
	l.mu.open = map[net.Conn]bool{}
	go l.serve()
	return l, nil
}

// Addr is where the line begins.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// LeadTo says where the line ends.
func (l *Line) LeadTo(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.to = addr
}

// Cut ends all connections and lets no new one through, as a port that is closed; or lets them through again.
func (l *Line) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cut = cut
	if cut {
		for c := range l.mu.open {
			c.Close()
		}
	}
}

// Silence keeps everything that is sent until the silence ends, as a network that loses packets does: nobody is told.
func (l *Line) Silence(silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case silent && l.mu.silent == nil:
		l.mu.silent = make(chan struct{})
	case !silent && l.mu.silent != nil:
		close(l.mu.silent)
		l.mu.silent = nil
	}
}

// Delay lets what is sent arrive later, each way.
func (l *Line) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.delay = d
}

// Close ends the line.
func (l *Line) Close() error {
	l.Cut(true)
	l.Silence(false)
	return l.listener.Close()
}

func (l *Line) serve() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		go l.pass(from)
	}
}

// pass copies both ways until either side or the line ends.
func (l *Line) pass(from net.Conn) {
	defer from.Close()
	l.mu.Lock()
	target := l.mu.to
	l.mu.Unlock()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	if !l.enter(from, to) {
		return
	}
	defer l.leave(from, to)
	var both sync.WaitGroup
	both.Go(func() { l.copy(to, from) })
	both.Go(func() { l.copy(from, to) })
	both.Wait()
}

func (l *Line) enter(conns ...net.Conn) bool {
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

func (l *Line) leave(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		delete(l.mu.open, c)
	}
}

// piece is what was read at once, and when it may be passed on.
type piece struct {
	bytes []byte
	due   time.Time
}

// How much of one way of a connection may be under way, in pieces, and how large these are.
const (
	pieces    = 64
	pieceSize = 64 << 10
)

// copy passes on one way of a connection until one side ends, and ends the other. What is read waits its time while more
// is read, so that a slow line is late and not narrow.
func (l *Line) copy(to, from net.Conn) {
	under := make(chan piece, pieces)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range under {
			l.hold(p.due)
			if _, err := to.Write(p.bytes); err != nil {
				from.Close() // the reader below ends
			}
		}
	}()
	for {
		b := make([]byte, pieceSize)
		n, err := from.Read(b)
		if n > 0 {
			under <- piece{b[:n], time.Now().Add(l.latency())}
		}
		if err != nil {
			break
		}
	}
	close(under)
	<-done
	to.Close()
	from.Close()
}

func (l *Line) latency() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.delay
}

// hold returns when a piece may be passed on.
func (l *Line) hold(due time.Time) {
	if d := time.Until(due); d > 0 {
		<-time.After(d)
	}
	for {
		l.mu.Lock()
		silent := l.mu.silent
		l.mu.Unlock()
		if silent == nil {
			return
		}
		<-silent
	}
}
