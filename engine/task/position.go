// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// ErrPosition marks bytes that are not an encoded Position.
var ErrPosition = errors.New("not a task position of this version")

// Position is where a task stands in its inputs: for each partition the offset of the next record to process.
type Position map[partition.TopicPartition]int64

const positionFormat = 2

// Point is what a task's position record says: where it stands in its inputs, and in event time.
type Point struct {
	Position Position
	time     map[string]inputTime // by topic
	reached  operators.Time       // the task's watermark
}

// AppendTo encodes the point.
func (p *Point) AppendTo(dst []byte) []byte {
	dst = append(dst, positionFormat)
	dst = p.Position.appendTo(dst)
	dst = binary.AppendVarint(dst, p.reached)
	dst = binary.AppendUvarint(dst, uint64(len(p.time)))
	for _, topic := range slices.Sorted(maps.Keys(p.time)) {
		in := p.time[topic]
		dst = binary.AppendUvarint(dst, uint64(len(topic)))
		dst = append(dst, topic...)
		dst = binary.AppendVarint(dst, in.newest)
		dst = binary.AppendUvarint(dst, uint64(len(in.upstream)))
		for _, u := range in.upstream {
			dst = binary.AppendUvarint(dst, uint64(u.task.SubTopology))
			dst = binary.AppendUvarint(dst, uint64(u.task.Partition))
			dst = binary.AppendVarint(dst, u.heard.watermark)
			dst = append(dst, byte(u.heard.status))
			dst = binary.AppendUvarint(dst, uint64(len(u.heard.run)))
			dst = append(dst, u.heard.run...)
		}
	}
	return dst
}

// DecodePoint reads what AppendTo has written.
func DecodePoint(b []byte) (Point, error) {
	if len(b) == 0 || b[0] != positionFormat {
		return Point{}, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	r := reader{b: b[1:]}
	p := Point{Position: decodePosition(&r), reached: r.varint(), time: map[string]inputTime{}}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		topic := string(r.take(r.uvarint()))
		in := inputTime{newest: r.varint()}
		for m := r.uvarint(); m > 0 && !r.bad; m-- {
			id := partition.TaskID{SubTopology: int32(r.uvarint()), Partition: int32(r.uvarint())}
			heard := reading{watermark: r.varint()}
			if b := r.take(1); b != nil {
				heard.status = min(Status(b[0]), Finished)
			}
			heard.run = string(r.take(r.uvarint()))
			in.hear(id, heard)
		}
		p.time[topic] = in
	}
	if r.bad || len(r.b) > 0 {
		return Point{}, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	return p, nil
}

// appendTo encodes count, then topic, partition and offset of each, in order.
func (p Position) appendTo(dst []byte) []byte {
	tps := make([]partition.TopicPartition, 0, len(p))
	for tp := range p {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, partition.TopicPartition.Compare)
	dst = binary.AppendUvarint(dst, uint64(len(tps)))
	for _, tp := range tps {
		dst = binary.AppendUvarint(dst, uint64(len(tp.Topic)))
		dst = append(dst, tp.Topic...)
		dst = binary.AppendUvarint(dst, uint64(tp.Partition))
		dst = binary.AppendVarint(dst, p[tp])
	}
	return dst
}

func decodePosition(r *reader) Position {
	p := Position{}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tp := partition.TopicPartition{Topic: string(r.take(r.uvarint())), Partition: int32(r.uvarint())}
		if _, twice := p[tp]; twice {
			r.bad = true
		}
		p[tp] = r.varint()
	}
	return p
}

// reader takes values off the front of b; bad is set once b was too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
