// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStalled is the cause with which a call that makes no progress is ended.
var errStalled = errors.New("it has made no progress")

// watch ends one attempt of a call when it makes no progress for a while. Its methods are called by whoever runs
// the attempt; those of a body by any number of goroutines.
type watch struct {
	ctx    context.Context // of the attempt
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	kept   bool // a content that is still read ends the watch
}

func (r *Retry) watch(ctx context.Context) *watch {
	w := &watch{stall: r.policy.Stall}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.stall, func() { w.cancel(errStalled) })
	return w
}

// progress begins the time that the attempt has anew.
func (w *watch) progress() { w.timer.Reset(w.stall) }

// pause stops the time, while it is not the store that is waited for.
func (w *watch) pause() { w.timer.Stop() }

// verdict is what an error means: where the watch has ended the attempt, that it is transient. The error itself
// would look as if the caller had given up.
func (w *watch) verdict(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errStalled) {
		return Transient(fmt.Errorf("%w for %s", errStalled, w.stall))
	}
	return err
}

// end ends the attempt, unless its content is still to be read.
func (w *watch) end(err error) error {
	err = w.verdict(err)
	if err != nil || !w.kept {
		w.close()
	}
	return err
}

func (w *watch) close() {
	w.timer.Stop()
	w.cancel(nil)
}

// keep returns a content that is watched while it is read, until it is closed.
func (w *watch) keep(body io.ReadCloser) io.ReadCloser {
	w.pause()
	w.kept = true
	return &watchedContent{body, w}
}

type watchedContent struct {
	body io.ReadCloser
	w    *watch
}

// Read implements io.Reader.
func (c *watchedContent) Read(p []byte) (int, error) {
	c.w.progress()
	n, err := c.body.Read(p)
	c.w.pause()
	if err == io.EOF {
		return n, err
	}
	return n, c.w.verdict(err)
}

// Close implements io.Closer.
func (c *watchedContent) Close() error {
	err := c.body.Close()
	c.w.close()
	return err
}

// body returns a content whose being read is progress.
func (w *watch) body(b Body) Body { return watchedBody{b, w} }

type watchedBody struct {
	Body
	w *watch
}

// ReadAt implements io.ReaderAt.
func (b watchedBody) ReadAt(p []byte, offset int64) (int, error) {
	b.w.progress()
	return b.Body.ReadAt(p, offset)
}
