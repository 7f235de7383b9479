// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
)

// Delta is one epoch's changes to a task's state, encoded once by Prepare.
type Delta struct {
	// Records are the changelog record values, in the order in which they must
	// be produced and replayed. They belong to the DB and are valid until the
	// next call of Prepare.
	Records [][]byte
}

// Empty says that the epoch changed no state.
func (d Delta) Empty() bool { return len(d.Records) == 0 }

// A changelog record value is
//
//	version (1 byte = 1)  op...
//	op = 1  uvarint len  entry key  uvarint len  value       set
//	   | 2  uvarint len  entry key                           delete
//	   | 3  uvarint len  from        uvarint len  to         delete [from, to)
//
// Ops apply in order. Per store, range deletes come before the sets and
// deletes of the same delta.
const (
	deltaFormat   = 1
	opSet         = 1
	opDelete      = 2
	opDeleteRange = 3

	// recordOverhead is the most that framing adds to an op's two byte strings:
	// version, op and two lengths.
	recordOverhead = 2 + 2*binary.MaxVarintLen32
)

type deltaOp struct {
	kind byte
	key  []byte // entry key, or the start of a range
	arg  []byte // value, or the end of a range
}

// decodeDelta calls fn for each op of one changelog record value. The op's
// slices alias record.
func decodeDelta(record []byte, fn func(deltaOp) error) error {
	if len(record) == 0 {
		return fmt.Errorf("decode delta: empty record: %w", ErrCorrupt)
	}
	if v := record[0]; v != deltaFormat {
		if v > deltaFormat {
			return fmt.Errorf("decode delta: found format %d, this release reads up to %d: %w", v, deltaFormat, ErrFutureFormat)
		}
		return fmt.Errorf("decode delta: found format %d: %w", v, ErrCorrupt)
	}
	for rest := record[1:]; len(rest) > 0; {
		op := deltaOp{kind: rest[0]}
		if op.kind < opSet || op.kind > opDeleteRange {
			return fmt.Errorf("decode delta: unknown op %d at byte %d: %w", op.kind, len(record)-len(rest), ErrCorrupt)
		}
		var ok bool
		if op.key, rest, ok = cutBytes(rest[1:]); !ok || !validEntryKey(op.key) {
			return fmt.Errorf("decode delta: bad key of op %d, %d bytes before the end: %w", op.kind, len(rest), ErrCorrupt)
		}
		if op.kind != opDelete {
			if op.arg, rest, ok = cutBytes(rest); !ok {
				return fmt.Errorf("decode delta: op %d is cut short, %d bytes before the end: %w", op.kind, len(rest), ErrCorrupt)
			}
		}
		if op.kind == opDeleteRange && !sameStore(op.key, op.arg) {
			return fmt.Errorf("decode delta: range delete leaves its store, %d bytes before the end: %w", len(rest), ErrCorrupt)
		}
		if err := fn(op); err != nil {
			return err
		}
	}
	return nil
}

// validEntryKey keeps records from writing the meta keys, and keys of no layout.
func validEntryKey(k []byte) bool {
	if len(k) < storeIDLen {
		return false
	}
	id := StoreID(binary.BigEndian.Uint16(k))
	return validStoreID(id) && (id&layoutBits != windowLayout || len(k) >= storeIDLen+timeLen)
}

func sameStore(a, b []byte) bool {
	return len(b) >= storeIDLen && string(a[:storeIDLen]) == string(b[:storeIDLen])
}

// cutBytes takes one length-delimited byte string off the front of b.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	// Lengths below 128 are nearly all of them.
	if len(b) > 0 && b[0] < 0x80 {
		n := int(b[0])
		if n >= len(b) {
			return nil, b, false
		}
		return b[1 : 1+n : 1+n], b[1+n:], true
	}
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, b, false
	}
	end := w + int(n)
	return b[w:end:end], b[end:], true
}

// deltaWriter packs ops into records of at most max bytes each.
type deltaWriter struct {
	max     int
	records [][]byte // sealed
	cur     []byte   // being filled; nil if none
	spare   [][]byte // buffers of the epoch before, for reuse
	value   []byte   // scratch: the value being encoded
	key     []byte   // scratch: the entry key of a range end
}

// maxSpareBytes and maxSpareEntries bound what is kept for the next epoch.
const (
	maxSpareBytes   = 4 << 20
	maxSpareEntries = 256 << 10
)

// reset starts a new delta. The buffers of the last one are reused, unless
// keep says that someone still reads them.
func (w *deltaWriter) reset(maxRecordBytes int, keep bool) {
	w.max = maxRecordBytes
	clear(w.spare)
	w.spare = w.spare[:0]
	if !keep {
		total := 0
		for _, r := range w.records {
			if total += cap(r); total <= maxSpareBytes {
				w.spare = append(w.spare, r[:0])
			}
		}
	}
	w.records = nil
	w.cur = nil
}

// room makes sure that n more bytes of op fit into the current record.
func (w *deltaWriter) room(n int) {
	if w.cur != nil && len(w.cur)+n <= w.max {
		return
	}
	w.seal()
	if k := len(w.spare); k > 0 {
		w.cur, w.spare = w.spare[k-1], w.spare[:k-1]
	} else {
		w.cur = make([]byte, 0, min(w.max, 4<<10))
	}
	w.cur = append(w.cur, deltaFormat)
}

func (w *deltaWriter) seal() {
	if w.cur != nil {
		w.records = append(w.records, w.cur)
		w.cur = nil
	}
}

// fits says whether one op with these strings fits into a record at all.
func (w *deltaWriter) fits(n int) bool { return n+recordOverhead <= w.max }

// put appends an op whose key is store id + tail. The caller has checked fits.
func (w *deltaWriter) put(kind byte, id StoreID, tail, arg []byte) {
	w.room(storeIDLen + len(tail) + len(arg) + recordOverhead)
	b := append(w.cur, kind)
	b = binary.AppendUvarint(b, uint64(storeIDLen+len(tail)))
	b = appendStoreID(b, id)
	b = append(b, tail...)
	if kind != opDelete {
		b = binary.AppendUvarint(b, uint64(len(arg)))
		b = append(b, arg...)
	}
	w.cur = b
}
