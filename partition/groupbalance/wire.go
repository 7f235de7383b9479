// SPDX-License-Identifier: Apache-2.0

package groupbalance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/streamd/streamd/partition"
)

// ErrUserData means that bytes which should be user data of this balancer are not.
var ErrUserData = errors.New("user data is not readable")

// wireVersion is the first byte of all user data. A later version only appends fields, so that while it is rolled
// out its data is understood by those who do not know it: they ignore what follows the fields they know. A reader of
// a later version gives absent fields their zero value.
//
//	member:     version, endpoint, zone, version, fingerprint, transactional id: string
//	            capacity: uvarint, claimed generation: varint
//	            count of sub-topologies, each: id: uvarint, count of sources, each: string
//	            count of held tasks, each: sub-topology, partition: uvarint, position: varint
//	assignment: version, generation: varint
//	            count of transactional ids, sorted, each: bytes shared with the one before: uvarint, rest: string
//
// A string is its length as uvarint and its bytes; a count is a uvarint.
const wireVersion = 1

// maxLiveBytes bounds the transactional ids of one assignment. Shared prefixes let few bytes stand for many; a record
// of the broker, 1 MiB, with a copy of the list for each member, cannot honestly stand for as many as this.
const maxLiveBytes = 16 << 20

// memberData is the user data of a member's join.
type memberData struct {
	Self
	// Claimed is the generation up to which the member's claims are without a gap; -1 if it was in none.
	Claimed int32
	// SubTopologies are those that the member knows, without [partition.SubTopology.Stateful].
	SubTopologies []partition.SubTopology
}

func (d memberData) append(dst []byte) []byte {
	dst = append(dst, wireVersion)
	for _, s := range []string{d.Endpoint, d.Zone, d.Version, d.Fingerprint, d.TransactionalID} {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(min(max(d.Capacity, 0), math.MaxInt32)))
	dst = binary.AppendVarint(dst, int64(d.Claimed))
	dst = binary.AppendUvarint(dst, uint64(len(d.SubTopologies)))
	for _, sub := range d.SubTopologies {
		dst = binary.AppendUvarint(dst, uint64(sub.ID))
		dst = binary.AppendUvarint(dst, uint64(len(sub.Sources)))
		for _, topic := range sub.Sources {
			dst = appendString(dst, topic)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Held)))
	for _, held := range d.Held {
		dst = binary.AppendUvarint(dst, uint64(held.Task.SubTopology))
		dst = binary.AppendUvarint(dst, uint64(held.Task.Partition))
		dst = binary.AppendVarint(dst, held.Position)
	}
	return dst
}

func parseMemberData(src []byte) (memberData, error) {
	r := newReader(src)
	var d memberData
	for _, s := range []*string{&d.Endpoint, &d.Zone, &d.Version, &d.Fingerprint, &d.TransactionalID} {
		*s = r.string()
	}
	d.Capacity = int(r.number())
	d.Claimed = r.generation()
	for range r.count() {
		sub := partition.SubTopology{ID: r.number()}
		for range r.count() {
			sub.Sources = append(sub.Sources, r.string())
		}
		d.SubTopologies = append(d.SubTopologies, sub)
	}
	for range r.count() {
		id := partition.TaskID{SubTopology: r.number(), Partition: r.number()}
		d.Held = append(d.Held, partition.HeldTask{Task: id, Position: r.varint()})
	}
	if err := r.end("member"); err != nil {
		return memberData{}, err
	}
	return d, nil
}

// assignmentData is the user data of an assignment.
type assignmentData struct {
	// Generation is the one that the assignment begins.
	Generation int32
	// Live lists the transactional ids of its members, sorted.
	Live []string
}

func (d assignmentData) append(dst []byte) []byte {
	dst = append(dst, wireVersion)
	dst = binary.AppendVarint(dst, int64(d.Generation))
	dst = binary.AppendUvarint(dst, uint64(len(d.Live)))
	before := ""
	for _, id := range d.Live {
		shared := 0
		for shared < min(len(before), len(id)) && before[shared] == id[shared] {
			shared++
		}
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = appendString(dst, id[shared:])
		before = id
	}
	return dst
}

func parseAssignmentData(src []byte) (assignmentData, error) {
	r := newReader(src)
	d := assignmentData{Generation: r.generation()}
	before, size := "", 0
	for range r.count() {
		shared, rest := int(r.number()), r.string()
		if size += shared + len(rest); shared > len(before) || size > maxLiveBytes {
			r.fail("shared prefix")
			break
		}
		before = before[:shared] + rest
		d.Live = append(d.Live, before)
	}
	if err := r.end("assignment"); err != nil {
		return assignmentData{}, err
	}
	return d, nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// reader takes user data apart. After the first problem it returns zero values and counts, so that loops end.
type reader struct {
	src     []byte
	size    int
	version byte
	problem string
}

func newReader(src []byte) *reader {
	r := &reader{src: src, size: len(src)}
	if len(src) == 0 || src[0] == 0 {
		r.fail("version")
		return r
	}
	r.version, r.src = src[0], src[1:]
	return r
}

func (r *reader) fail(what string) {
	if r.problem == "" {
		r.problem = fmt.Sprintf("%s at byte %d of %d", what, r.size-len(r.src), r.size)
	}
	r.src = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.src)
	if n <= 0 {
		r.fail("number")
		return 0
	}
	r.src = r.src[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.src)
	if n <= 0 {
		r.fail("number")
		return 0
	}
	r.src = r.src[n:]
	return v
}

// number reads an int32 that is not negative.
func (r *reader) number() int32 {
	v := r.uvarint()
	if v > math.MaxInt32 {
		r.fail("number out of range")
		return 0
	}
	return int32(v)
}

func (r *reader) generation() int32 {
	v := r.varint()
	if v < noGeneration || v > math.MaxInt32 {
		r.fail("generation out of range")
		return noGeneration
	}
	return int32(v)
}

// count reads how many things follow. Each takes at least a byte, so a number that is larger than what is left is a
// lie that would only cost memory.
func (r *reader) count() int {
	v := r.uvarint()
	if v > uint64(len(r.src)) {
		r.fail("count")
		return 0
	}
	return int(v)
}

func (r *reader) string() string {
	n := r.count()
	s := string(r.src[:n])
	r.src = r.src[n:]
	return s
}

func (r *reader) end(kind string) error {
	if r.problem == "" && len(r.src) > 0 && r.version == wireVersion {
		r.fail("unexpected byte")
	}
	if r.problem != "" {
		return fmt.Errorf("%w: %s: %s", ErrUserData, kind, r.problem)
	}
	return nil
}
