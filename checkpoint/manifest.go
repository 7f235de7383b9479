// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/streamd/streamd/partition"
)

// This file is pure.

const (
	// FormatVersion is the manifest format this version writes, and the newest it reads.
	FormatVersion = formatVersion
	// MaxFiles is the most files a checkpoint of one task may have.
	MaxFiles = 100_000
	// MaxFileBytes is the largest file of a checkpoint.
	MaxFileBytes = 1 << 40
	// MaxTotalBytes is the largest checkpoint of one task.
	MaxTotalBytes = 1 << 46
	// MaxManifestBytes is the largest encoded manifest that is read.
	MaxManifestBytes = 64 << 20

	maxFileNameBytes = 255
)

// Position says how far a task's state reaches: at one confirmed commit.
type Position struct {
	Epoch uint64 `json:"epoch"` // ordinal of the commit
	// ChangelogOffset is that of the commit's position record; -1 if the task has no changelog or has
	// not written to it. Replay continues at the offset after it.
	ChangelogOffset int64 `json:"changelogOffset"`
	// Inputs is the next offset to read by topic and partition.
	Inputs map[string]map[int32]int64 `json:"inputs,omitempty"`
	// Produced is by repartition topic and partition the offset up to which (exclusive) the task had
	// produced: that of the marker by which it told those downstream that it had entered the round.
	Produced map[string]map[int32]int64 `json:"produced,omitempty"`
	// Watermark is how far the task had come in event time, in Unix milliseconds.
	Watermark int64 `json:"watermark,omitempty"`
	// Detail is what the engine keeps beside: opaque here.
	Detail []byte `json:"detail,omitempty"`
}

// File is one state file of a checkpoint.
type File struct {
	Name   string `json:"name"`   // in the task's folder: flat, see Manifest
	Object string `json:"object"` // below the store's root
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex
}

// Manifest is the checkpoint of one task in one round. A manifest that came from this package is valid:
// its file names are flat names of letters, digits, '.', '_', '-' that differ in more than case, its
// objects are content-addressed, and its counts and sizes are below the Max constants.
type Manifest struct {
	Format      int                 `json:"-"` // filled by reading and publishing
	App         string              `json:"app"`
	Incarnation int                 `json:"incarnation"`
	Round       int64               `json:"round"`
	Task        partition.TaskID    `json:"task"`
	Generation  string              `json:"generation"`       // of the owner that published it
	Fingerprint string              `json:"fingerprint"`      // of the topology
	Codecs      map[string][]string `json:"codecs,omitempty"` // store name → codec ids: of key, sub-key, and value, oldest first
	Stores      map[string]uint16   `json:"stores,omitempty"` // store name → store id
	Position    Position            `json:"position"`         //
	Files       []File              `json:"files,omitempty"`  // in order of their names
	Created     time.Time           `json:"created"`          // by the owner's clock, informative
	Checksum    string              `json:"-"`                // hex SHA-256 of the stored content
}

// Bytes is the size of the checkpoint's files.
func (m Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Known is the manifest's files by name, for Upload.
func (m Manifest) Known() map[string]File {
	known := make(map[string]File, len(m.Files))
	for _, f := range m.Files {
		known[f.Name] = f
	}
	return known
}

// encodeManifest validates a manifest and gives its stored form and checksum.
func encodeManifest(m Manifest) ([]byte, string, error) {
	if err := m.validate(); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	document, checksum, err := encode(kindManifest, m)
	if err == nil && len(document) > MaxManifestBytes {
		err = fmt.Errorf("%w: manifest has %d bytes, more than %d", ErrInvalid, len(document), MaxManifestBytes)
	}
	return document, checksum, err
}

// DecodeManifest reads and validates a stored manifest. The error wraps ErrCorrupt or ErrFutureFormat.
func DecodeManifest(document []byte) (Manifest, error) {
	if len(document) > MaxManifestBytes {
		return Manifest{}, fmt.Errorf("%w: manifest has %d bytes, more than %d", ErrCorrupt, len(document), MaxManifestBytes)
	}
	var m Manifest
	checksum, err := decode(kindManifest, document, &m)
	if err != nil {
		return Manifest{}, err
	}
	m.Format, m.Checksum = formatVersion, checksum
	return m, nil
}

func (m Manifest) validate() error {
	if err := CheckID(m.App); err != nil {
		return err
	}
	if err := CheckID(m.Generation); err != nil {
		return err
	}
	switch {
	case m.Incarnation < 1:
		return fmt.Errorf("incarnation %d is not positive", m.Incarnation)
	case m.Round < 1:
		return fmt.Errorf("round %d is not positive", m.Round)
	case m.Task.SubTopology < 0 || m.Task.Partition < 0:
		return fmt.Errorf("task %s is negative", m.Task)
	case m.Position.ChangelogOffset < -1:
		return fmt.Errorf("changelog offset %d is below -1", m.Position.ChangelogOffset)
	case len(m.Files) > MaxFiles:
		return fmt.Errorf("%d files, more than %d", len(m.Files), MaxFiles)
	}
	return validateFiles(m.Files)
}

func validateFiles(files []File) error {
	var total int64
	seen := make(map[string]string, len(files))
	for _, f := range files {
		if err := f.validate(); err != nil {
			return err
		}
		// File systems that fold case would let one file overwrite the other.
		folded := strings.ToLower(f.Name)
		if other, dup := seen[folded]; dup {
			return fmt.Errorf("file names %q and %q collide", other, f.Name)
		}
		seen[folded] = f.Name
		if total += f.Size; total > MaxTotalBytes {
			return fmt.Errorf("files have more than %d bytes together", int64(MaxTotalBytes))
		}
	}
	return nil
}

func (f File) validate() error {
	if err := checkFileName(f.Name); err != nil {
		return err
	}
	if f.Size < 0 || f.Size > MaxFileBytes {
		return fmt.Errorf("file %s has size %d, allowed is 0 to %d", f.Name, f.Size, int64(MaxFileBytes))
	}
	if err := checkHash(f.SHA256); err != nil {
		return fmt.Errorf("file %s: %w", f.Name, err)
	}
	if err := checkObjectName(f.Object, f.SHA256); err != nil {
		return fmt.Errorf("file %s: %w", f.Name, err)
	}
	return nil
}

func checkHash(sha256 string) error {
	if raw, err := hex.DecodeString(sha256); err != nil || len(raw) != 32 || strings.ToLower(sha256) != sha256 {
		return fmt.Errorf("hash %.80q is not a lower-case hex SHA-256", sha256)
	}
	return nil
}

// checkFileName allows only names that can mean nothing but a file in the folder itself. A trailing dot
// is refused since some file systems drop it.
func checkFileName(name string) error {
	if name == "" || len(name) > maxFileNameBytes || name[0] == '.' || name[len(name)-1] == '.' {
		return fmt.Errorf("file name %.40q is not allowed: it must have 1 to %d characters and no dot at either end", name, maxFileNameBytes)
	}
	for _, c := range []byte(name) {
		if !isNameByte(c) {
			return fmt.Errorf("file name %.40q is not allowed: it has characters other than letters, digits, '.', '_' and '-'", name)
		}
	}
	return nil
}
