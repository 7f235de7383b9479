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
//	            capacity: uvarint, leaving: uvarint, claimed generation: varint
//	            sub-topologies
//	            count of held tasks, each: task, position: varint, warm, use: uvarint
//	assignment: version, index of the receiver among the members: uvarint, generation: varint
//	            sub-topologies, whose numbers the tasks below have
//	            count of members, sorted by transactional id, each:
//	                transactional id: bytes shared with the one before: uvarint, rest: string
//	                endpoint, zone, version: string, leaving: uvarint, tasks: owned, standby, warm-up
//	            count of moves, each: task, from, to: index of a member + 1 or 0: uvarint, reason, state: uvarint
//
//	sub-topologies: count, each: id: uvarint, count of sources, each: string
//	tasks: count, each: task; a task: sub-topology, partition: uvarint
//
// A string is its length as uvarint and its bytes; a count is a uvarint; a truth is the uvarint 0 or 1.
const wireVersion = 1

// maxNameBytes bounds the transactional ids of one assignment. Shared prefixes let few bytes stand for many; a record
// of the broker, 1 MiB, with a copy of the list for each member, cannot honestly stand for as many as this.
const maxNameBytes = 16 << 20

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
	dst = appendBool(dst, d.Leaving)
	dst = binary.AppendVarint(dst, int64(d.Claimed))
	dst = appendSubTopologies(dst, d.SubTopologies)
	dst = binary.AppendUvarint(dst, uint64(len(d.Held)))
	for _, held := range d.Held {
		dst = appendTask(dst, held.Task)
		dst = binary.AppendVarint(dst, held.Position)
		dst = binary.AppendUvarint(appendBool(dst, held.Warm), uint64(held.Use))
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
	d.Leaving = r.bool()
	d.Claimed = r.generation()
	d.SubTopologies = r.subTopologies()
	for range r.count() {
		d.Held = append(d.Held, partition.HeldTask{Task: r.task(), Position: r.varint(), Warm: r.bool(), Use: partition.Use(r.below(partition.Uses))})
	}
	if err := r.end("member"); err != nil {
		return memberData{}, err
	}
	return d, nil
}

// assignmentData is the user data of an assignment. The tasks have the numbers that the sub-topologies have here, which
// are those of the leader.
type assignmentData struct {
	Table
	SubTopologies []partition.SubTopology
}

func (d assignmentData) append(dst []byte) []byte {
	return appendAssignment(dst, d.Self, d.appendShared(nil))
}

// appendAssignment appends the user data of one member, given what is the same for all.
func appendAssignment(dst []byte, self int, shared []byte) []byte {
	dst = binary.AppendUvarint(append(dst, wireVersion), uint64(self))
	return append(dst, shared...)
}

// appendShared appends what is the same for all members.
func (d assignmentData) appendShared(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(d.Generation))
	dst = appendSubTopologies(dst, d.SubTopologies)
	dst = binary.AppendUvarint(dst, uint64(len(d.Members)))
	index := map[string]uint64{"": 0}
	before := ""
	for i, m := range d.Members {
		id := m.TransactionalID
		index[id] = uint64(i + 1)
		shared := 0
		for shared < min(len(before), len(id)) && before[shared] == id[shared] {
			shared++
		}
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = appendString(dst, id[shared:])
		before = id
		for _, s := range []string{m.Endpoint, m.Zone, m.Version} {
			dst = appendString(dst, s)
		}
		dst = appendBool(dst, m.Leaving)
		for _, tasks := range [][]partition.TaskID{m.Owned, m.Standby, m.WarmUp} {
			dst = binary.AppendUvarint(dst, uint64(len(tasks)))
			for _, id := range tasks {
				dst = appendTask(dst, id)
			}
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Moves)))
	for _, mv := range d.Moves {
		dst = appendTask(dst, mv.Task)
		for _, n := range []uint64{index[mv.From], index[mv.To], uint64(mv.Reason), uint64(mv.State)} {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	return dst
}

func parseAssignmentData(src []byte) (assignmentData, error) {
	r := newReader(src)
	var d assignmentData
	d.Self = int(r.number())
	d.Generation = r.generation()
	d.SubTopologies = r.subTopologies()
	before, size := "", 0
	for range r.count() {
		shared, rest := int(r.number()), r.string()
		if size += shared + len(rest); shared > len(before) || size > maxNameBytes {
			r.fail("shared prefix")
			break
		}
		before = before[:shared] + rest
		d.Members = append(d.Members, TableMember{
			TransactionalID: before, Endpoint: r.string(), Zone: r.string(), Version: r.string(), Leaving: r.bool(),
			Owned: r.tasks(), Standby: r.tasks(), WarmUp: r.tasks(),
		})
	}
	for range r.count() {
		mv := partition.Move{Task: r.task(), From: d.name(r), To: d.name(r)}
		mv.Reason, mv.State = partition.MoveReason(r.below(partition.MoveReasons)), partition.MoveState(r.below(partition.MoveStates))
		d.Moves = append(d.Moves, mv)
	}
	if d.Self >= len(d.Members) {
		r.fail("index of the receiver")
	}
	if err := r.end("assignment"); err != nil {
		return assignmentData{}, err
	}
	return d, nil
}

// name reads a reference to a member.
func (d assignmentData) name(r *reader) string {
	i := r.below(len(d.Members) + 1)
	if i == 0 {
		return ""
	}
	return d.Members[i-1].TransactionalID
}

func appendSubTopologies(dst []byte, subs []partition.SubTopology) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(subs)))
	for _, sub := range subs {
		dst = binary.AppendUvarint(dst, uint64(sub.ID))
		dst = binary.AppendUvarint(dst, uint64(len(sub.Sources)))
		for _, topic := range sub.Sources {
			dst = appendString(dst, topic)
		}
	}
	return dst
}

func appendTask(dst []byte, id partition.TaskID) []byte {
	dst = binary.AppendUvarint(dst, uint64(id.SubTopology))
	return binary.AppendUvarint(dst, uint64(id.Partition))
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
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

// below reads a number below n.
func (r *reader) below(n int) int {
	v := int(r.number())
	if v >= n {
		r.fail("number out of range")
		return 0
	}
	return v
}

func (r *reader) bool() bool { return r.below(2) == 1 }

func (r *reader) task() partition.TaskID {
	return partition.TaskID{SubTopology: r.number(), Partition: r.number()}
}

func (r *reader) tasks() (ids []partition.TaskID) {
	for range r.count() {
		ids = append(ids, r.task())
	}
	return ids
}

func (r *reader) subTopologies() (subs []partition.SubTopology) {
	for range r.count() {
		sub := partition.SubTopology{ID: r.number()}
		for range r.count() {
			sub.Sources = append(sub.Sources, r.string())
		}
		subs = append(subs, sub)
	}
	return subs
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
