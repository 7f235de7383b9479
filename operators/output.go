// SPDX-License-Identifier: Apache-2.0

package operators

// Output takes what a Processor emits. Implementations copy or keep nothing but Emission.Buf, which lies
// in their own arena. It is called by the goroutine that runs the task; Emit cannot fail: a produce error
// belongs to the commit of the epoch.
type Output interface {
	// Buffer returns the free tail of the epoch's arena: length zero, with capacity to spare. The caller
	// appends the key bytes, then the value bytes, and hands the grown slice to Emit. It may outgrow
	// the arena; if Emit is not called nothing of it is kept.
	Buffer() []byte
	// Emit takes one record. Headers are valid during the call only, together with the input record
	// they may come from.
	Emit(Emission)
}

// ControlHeader marks records of a repartition topic that are not the user's: they tell downstream tasks how far
// event time has come. A record of the user's that carries it loses it on the way.
const ControlHeader = "streamd-control"

// Emission is one output record. Its fields are plain so that passing it costs no allocation.
type Emission struct {
	Topic     int    // index in topology.SubTopology.Outputs
	Partition int32  // -1: by the hash of the key, or the producer's choice if the key is null
	Buf       []byte // the slice from Output.Buffer, grown by the key, then the value
	KeyLen    int    // bytes of the key; -1: null key
	NullValue bool   // the value is null (a tombstone), not empty
	Time      Time
	Headers   []Header
	Control   bool // an announcement of the task: the output adds ControlHeader
}

// Key returns the key bytes, nil for a null key. They alias Buf.
func (e *Emission) Key() []byte {
	if e.KeyLen < 0 {
		return nil
	}
	return e.Buf[:e.KeyLen:e.KeyLen]
}

// Value returns the value bytes, nil for a null value. They alias Buf.
func (e *Emission) Value() []byte {
	if e.NullValue {
		return nil
	}
	return e.Buf[max(e.KeyLen, 0):]
}
