// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// ErrPosition marks bytes that are not an encoded Position.
var ErrPosition = errors.New("not a task position of this version")

// Position is where a task stands in its inputs: for each partition the offset of the next record to process.
type Position map[partition.TopicPartition]int64

const positionFormat = 3

// Point is what a task's position record says: where it stands in its inputs, and in event time. Inputs go by their names in
// the topology, so that the record means the same in another life of the application, whose repartition topics have
// other names on the cluster.
type Point struct {
	inputs  []pointInput   // in the order of the sub-topology's sources
	reached operators.Time // the task's watermark
}

type pointInput struct {
	source    string
	internal  bool
	partition int32
	next      int64
	time      inputTime
}

// Position is where the point stands; name gives the name on the cluster of a topic of the topology.
func (p *Point) Position(name func(topic string, internal bool) string) Position {
	at := make(Position, len(p.inputs))
	for _, in := range p.inputs {
		at[partition.TopicPartition{Topic: name(in.source, in.internal), Partition: in.partition}] = in.next
	}
	return at
}

// Watermark is how far event time has come; operators.MinTime before it is known.
func (p *Point) Watermark() operators.Time { return p.reached }

// Transplant makes the point one of another life of the application, whose repartition topics begin with what was in flight,
// and whose group counts its generations anew.
func (p *Point) Transplant() {
	for i := range p.inputs {
		in := &p.inputs[i]
		if in.internal {
			in.next = 0
		}
		in.time.upstream = slices.Clone(in.time.upstream)
		for u := range in.time.upstream {
			in.time.upstream[u].generation = 0
		}
	}
}

// input finds what the point says of an input; nil: nothing.
func (p *Point) input(source string, internal bool) *pointInput {
	for i := range p.inputs {
		if in := &p.inputs[i]; in.source == source && in.internal == internal {
			return in
		}
	}
	return nil
}

// InputAt is a position in one input of a task.
type InputAt struct {
	Source    string // as the topology names it
	Internal  bool
	Partition int32
	Next      int64
}

// Rescale returns where a task begins whose keys lay in several tasks before. Event time is where the task stood that had
// come least far: the others see what they have acted on already once more, and none of what is still to come is late. What
// upstream tasks have said is forgotten: they say it again.
func Rescale(points []Point, inputs []InputAt) Point {
	p := Point{reached: operators.MaxTime}
	for i := range points {
		p.reached = min(p.reached, points[i].reached)
	}
	if len(points) == 0 {
		p.reached = operators.MinTime
	}
	for _, at := range inputs {
		in := pointInput{at.Source, at.Internal, at.Partition, at.Next, inputTime{newest: operators.MinTime}}
		for i := range points {
			if was := points[i].input(at.Source, at.Internal); was != nil && was.partition == at.Partition {
				in.time.newest = was.time.newest
			}
		}
		p.inputs = append(p.inputs, in)
	}
	return p
}

// AppendTo encodes the point.
func (p *Point) AppendTo(dst []byte) []byte {
	dst = append(dst, positionFormat)
	dst = binary.AppendVarint(dst, p.reached)
	dst = binary.AppendUvarint(dst, uint64(len(p.inputs)))
	for i := range p.inputs {
		dst = p.inputs[i].appendTo(dst)
	}
	return dst
}

func (in *pointInput) appendTo(dst []byte) []byte {
	internal := byte(0)
	if in.internal {
		internal = 1
	}
	dst = append(dst, internal)
	dst = binary.AppendUvarint(dst, uint64(len(in.source)))
	dst = append(dst, in.source...)
	dst = binary.AppendUvarint(dst, uint64(in.partition))
	dst = binary.AppendVarint(dst, in.next)
	dst = binary.AppendVarint(dst, in.time.newest)
	dst = binary.AppendUvarint(dst, uint64(len(in.time.upstream)))
	for _, u := range in.time.upstream {
		dst = binary.AppendUvarint(dst, uint64(u.task.SubTopology))
		dst = binary.AppendUvarint(dst, uint64(u.task.Partition))
		dst = binary.AppendVarint(dst, u.heard.watermark)
		dst = append(dst, byte(u.heard.status))
		dst = binary.AppendUvarint(dst, uint64(u.generation))
		dst = binary.AppendUvarint(dst, uint64(len(u.heard.run)))
		dst = append(dst, u.heard.run...)
	}
	return dst
}

// DecodePoint reads what AppendTo has written.
func DecodePoint(b []byte) (Point, error) {
	if len(b) == 0 || b[0] != positionFormat {
		return Point{}, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	r := reader{b: b[1:]}
	p := Point{reached: r.varint()}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		in := decodePointInput(&r)
		if p.input(in.source, in.internal) != nil {
			r.bad = true
		}
		p.inputs = append(p.inputs, in)
	}
	if r.bad || len(r.b) > 0 {
		return Point{}, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	return p, nil
}

func decodePointInput(r *reader) (in pointInput) {
	if b := r.take(1); b != nil {
		in.internal = b[0] == 1
		r.bad = r.bad || b[0] > 1
	}
	in.source = string(r.take(r.uvarint()))
	in.partition, in.next = int32(r.uvarint()), r.varint()
	in.time.newest = r.varint()
	for m := r.uvarint(); m > 0 && !r.bad; m-- {
		id := partition.TaskID{SubTopology: int32(r.uvarint()), Partition: int32(r.uvarint())}
		heard := reading{watermark: r.varint()}
		if b := r.take(1); b != nil {
			heard.status = min(Status(b[0]), Finished)
		}
		generation := int32(r.uvarint())
		heard.run = string(r.take(r.uvarint()))
		in.time.hear(id, heard, generation)
	}
	return in
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
