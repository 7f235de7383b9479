// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"strings"
)

// MaxMetadataBytes is the broker's default limit on the metadata of one offset commit
// (offset.metadata.max.bytes).
const MaxMetadataBytes = 4096

// ErrMetadata marks offset-commit metadata that streamd did not write, or that a later version wrote.
var ErrMetadata = errors.New("the offset was not committed by streamd")

// Metadata stands beside each committed input offset and makes "outputs, offsets and which state" one atomic
// fact: it names the position record of the task's changelog and the newest durable checkpoint.
type Metadata struct {
	Incarnation     int
	Epoch           uint64 // ordinal of the task's last commit
	ChangelogOffset int64  // of the position record; -1: the task has no state, or has not committed yet
	Round           int64  // newest durable checkpoint of the task; 0: none
	Entered         int64  // newest round that the task has entered: its cut is the commit that first said so; 0: none
	TransactionalID string // of the committing worker, so that a successor can fence it
	// Watermark and Idle say how far the task has come in event time. They are for tasks that have nothing to read.
	Watermark int64
	Idle      bool
	Finished  string // the bounded run that the task has finished; empty: none
}

// Encode gives the text that is committed.
func (m Metadata) Encode() string {
	text := fmt.Sprintf("streamd1 %d %d %d %d %d %s %d", m.Incarnation, m.Epoch, m.ChangelogOffset, m.Round, m.Entered, m.TransactionalID, m.Watermark)
	if m.Idle {
		text += " idle"
	}
	if m.Finished != "" {
		text += " finished " + m.Finished
	}
	return text
}

// DecodeMetadata reads what Encode has written. Anything else is ErrMetadata.
func DecodeMetadata(s string) (Metadata, error) {
	var m Metadata
	rest, ok := strings.CutPrefix(s, "streamd1 ")
	if !ok {
		return m, fmt.Errorf("decode offset metadata %.40q: %w", s, ErrMetadata)
	}
	rest, m.Finished, _ = strings.Cut(rest, " finished ")
	rest, m.Idle = strings.CutSuffix(rest, " idle")
	n, err := fmt.Sscanf(rest, "%d %d %d %d %d %s %d", &m.Incarnation, &m.Epoch, &m.ChangelogOffset, &m.Round, &m.Entered, &m.TransactionalID, &m.Watermark)
	if err != nil || n != 7 || m.Encode() != s {
		return Metadata{}, fmt.Errorf("decode offset metadata %.40q: %w", s, ErrMetadata)
	}
	return m, nil
}
