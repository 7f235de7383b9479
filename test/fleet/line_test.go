// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers everything with itself, at the end of a line.
func echo(t *testing.T) (*Line, net.Conn) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	l, err := OpenLine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.LeadTo(server.Addr().String())
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ask(t, c)
	return l, c
}

func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "hello" {
		t.Fatalf("the answer is %q, %v", answer, err)
	}
}

func TestASilentLineKeepsWhatIsSentAndDeliversItLater(t *testing.T) {
	t.Parallel()
	l, c := echo(t)
	l.Silence(true)
	if _, err := c.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if n, err := c.Read(answer); err == nil {
		t.Fatalf("a silent line has answered %q", answer[:n])
	}
	l.Silence(false)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "late" {
		t.Fatalf("after the silence came %q, %v", answer, err)
	}
}

func TestASlowLineIsLateEachWay(t *testing.T) {
	t.Parallel()
	l, c := echo(t)
	const delay = 30 * time.Millisecond
	l.Delay(delay)
	began := time.Now()
	ask(t, c)
	if took := time.Since(began); took < 2*delay {
		t.Errorf("an answer took %v over a line with a delay of %v each way", took, delay)
	}
}

func TestACutLineEndsConnections(t *testing.T) {
	t.Parallel()
	l, c := echo(t)
	l.Cut(true)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on")
	}
}
