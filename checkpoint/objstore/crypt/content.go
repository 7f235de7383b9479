// SPDX-License-Identifier: Apache-2.0

package crypt

import (
	"fmt"
	"io"
	"sync"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// opener gives the plain content of an object from a segment on.
type opener struct {
	name    string
	source  io.ReadCloser
	box     box
	segment int64 // that is read next
	buffer  []byte
	carried int    // 1 if the first byte of the next segment was read with the one before it
	plain   []byte // verified and not yet given out
	left    int64  // bytes that may still be given out
	last    bool   // plain is from the last segment
	err     error  // what ended the reading
}

// Read implements io.Reader.
func (o *opener) Read(p []byte) (int, error) {
	for len(o.plain) == 0 && o.left > 0 && o.err == nil {
		o.err = o.next()
	}
	if o.left == 0 {
		return 0, io.EOF
	}
	if len(o.plain) == 0 {
		return 0, o.err
	}
	n := copy(p[:min(int64(len(p)), o.left)], o.plain)
	o.plain = o.plain[n:]
	o.left -= int64(n)
	return n, nil
}

// Close implements io.Closer.
func (o *opener) Close() error { return o.source.Close() }

// skipTo goes to an offset of the plain content, which is in the first segment, and limits what follows.
func (o *opener) skipTo(offset, length int64) error {
	o.left = length
	if length < 0 {
		o.left = maxPlainBytes
	}
	skip := offset - plainStart(o.segment)
	if offset == 0 && length < 0 {
		return nil // the whole content may be empty
	}
	if err := o.next(); err != nil {
		return err
	}
	if skip >= int64(len(o.plain)) {
		return fmt.Errorf("%w: it ends before byte %d", objstore.ErrRange, offset)
	}
	o.plain = o.plain[skip:]
	return nil
}

// next reads, verifies and decrypts one segment. io.EOF says that there is none.
func (o *opener) next() error {
	if o.last {
		return io.EOF
	}
	if o.buffer == nil {
		o.buffer = make([]byte, segmentBytes+1)
	}
	size := int(segmentBytes - firstOffset(o.segment))
	if o.carried > 0 {
		o.buffer[0] = o.buffer[segmentBytes]
	}
	// A byte beyond the segment shows that it is not the last. It is kept at the very end of the buffer.
	n, err := io.ReadFull(o.source, o.buffer[o.carried:size])
	n += o.carried
	if err == nil {
		o.carried, err = io.ReadFull(o.source, o.buffer[segmentBytes:])
	}
	if err != nil {
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("read object %s: %w", o.name, err)
		}
		o.last = true
	}
	if o.plain, err = o.box.open(o.buffer[:n], o.segment, o.last); err != nil {
		return fmt.Errorf("read object %s: %w", o.name, err)
	}
	o.segment++
	return nil
}

// sealer is the encrypted content of an object, made as it is read. It implements objstore.Body.
type sealer struct {
	box    box
	header []byte
	plain  objstore.Body
	size   int64 // of plain
	mu     struct {
		sync.Mutex
		idle []*sealedSegment // one for each goroutine that ever read at the same time
	}
}

var _ objstore.Body = (*sealer)(nil)

// sealedSegment is a segment that was sealed last, for readers that take less than a segment at a time.
type sealedSegment struct {
	number int64 // -1: none
	sealed []byte
	buffer []byte
}

// Size implements objstore.Body.
func (s *sealer) Size() int64 { return sealedSize(s.size) }

// ReadAt implements io.ReaderAt.
func (s *sealer) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read encrypted content at offset %d", offset)
	}
	done := 0
	if offset < int64(headerBytes) {
		done = copy(p, s.header[offset:])
	}
	for done < len(p) {
		at := offset + int64(done)
		if at >= s.Size() {
			return done, io.EOF
		}
		n, err := s.copySegment(p[done:], at)
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// copySegment copies from the segment that has the object's byte at an offset, up to the segment's end.
func (s *sealer) copySegment(p []byte, at int64) (int, error) {
	number := at / segmentBytes
	segment := s.take(number)
	defer s.give(segment)
	if segment.number != number {
		if err := s.sealSegment(segment, number); err != nil {
			return 0, err
		}
	}
	return copy(p, segment.sealed[at%segmentBytes-firstOffset(number):]), nil
}

func (s *sealer) sealSegment(segment *sealedSegment, number int64) error {
	segment.number = -1
	from := plainStart(number)
	plain := segment.buffer[:min(segmentPlainBytes-firstOffset(number), s.size-from)]
	if n, err := s.plain.ReadAt(plain, from); n < len(plain) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read content to encrypt at byte %d: %w", from, err)
	}
	segment.sealed = s.box.seal(plain, number, number == segments(s.size)-1)
	segment.number = number
	return nil
}

// take returns an idle segment, preferably that of the number.
func (s *sealer) take(number int64) *sealedSegment {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.mu.idle) - 1
	if last < 0 {
		return &sealedSegment{number: -1, buffer: make([]byte, segmentBytes)}
	}
	for i, segment := range s.mu.idle {
		if segment.number == number {
			s.mu.idle[i], s.mu.idle[last] = s.mu.idle[last], segment
			break
		}
	}
	segment := s.mu.idle[last]
	s.mu.idle = s.mu.idle[:last]
	return segment
}

func (s *sealer) give(segment *sealedSegment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.idle = append(s.mu.idle, segment)
}
