// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"strconv"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
)

// settle drops the record of a failure as the policy says; the error is that of the failure if it says to fail.
func (t *task) settle(policy ErrorPolicy, f operators.Failure) error {
	rec := t.rt.Context.Record
	l := t.rt.Listener
	if l == nil {
		l = &operators.Listener{}
	}
	switch {
	case policy.deadLetter != "" && rec != nil:
		t.rt.Output.Emit(t.deadLetter(rec, f, policy.deadLetter))
		if l.DeadLettered != nil {
			l.DeadLettered(f, policy.deadLetter)
		}
	case policy.skip:
		if l.Skipped != nil {
			l.Skipped(f)
		}
	default:
		return f.Err
	}
	return nil
}

// deadLetter wraps the task's input record. Its own headers come first: a record that fails again after it was
// sent back keeps the history, and the last header of a name tells the latest.
func (t *task) deadLetter(rec *operators.Record, f operators.Failure, topic string) operators.Emission {
	headers := make([]operators.Header, 0, len(rec.Headers)+6)
	headers = append(headers, rec.Headers...)
	headers = append(headers,
		operators.Header{Key: "streamd-error", Value: []byte(f.Err.Error())},
		operators.Header{Key: "streamd-step", Value: []byte(f.Step)},
		operators.Header{Key: "streamd-phase", Value: []byte(f.Phase)},
		operators.Header{Key: "streamd-topic", Value: []byte(rec.Topic)},
		operators.Header{Key: "streamd-partition", Value: strconv.AppendInt(nil, int64(rec.Partition), 10)},
		operators.Header{Key: "streamd-offset", Value: strconv.AppendInt(nil, rec.Offset, 10)},
	)
	keyLen := len(rec.Key)
	if rec.Key == nil {
		keyLen = -1
	}
	value := rec.Value
	if t.sub.Sources[t.proc.source].Internal {
		if _, plain, err := codec.SplitStored(value); err == nil {
			value = plain // Readers of the topic know nothing of versions.
		}
	}
	return operators.Emission{
		Topic: t.output(topic, false), Partition: -1, Buf: append(append(t.rt.Output.Buffer(), rec.Key...), value...), KeyLen: keyLen,
		NullValue: rec.Value == nil, Time: rec.Time, Headers: headers,
	}
}
