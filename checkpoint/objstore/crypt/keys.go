// SPDX-License-Identifier: Apache-2.0

package crypt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

var (
	// ErrKeyFile says that a key file is not of the form that LoadKeys reads.
	ErrKeyFile = errors.New("key file is not valid")
	// ErrKey says that an object was encrypted with a key that the key file does not have.
	ErrKey = errors.New("encryption key is missing")
)

const (
	keyBytes = 32 // AES-256
	// maxKeyFileBytes bounds what is read from a path that may be wrong.
	maxKeyFileBytes = 64 << 10
	currentWord     = "current"
)

// idForm is what a key may be called; it has idBytes in an object's header.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// Keys are the keys of a key file. Safe for concurrent use. A key that is asked for and not there makes the
// file be read again, so that a key which was added meanwhile is found without a restart.
type Keys struct {
	path string
	mu   struct {
		sync.Mutex
		ring ring
	}
}

// ring is what a key file says.
type ring struct {
	current string // id of the key that encrypts
	keys    map[string][]byte
}

// LoadKeys reads a key file. It has a line for each key, its id and 32 bytes in base64, and a line that says
// which of them encrypts; empty lines and lines that begin with '#' are ignored:
//
//	current 2026-11
//	2026-11 q0v5kFOCVNsVyIAuYMRZcQkpzRHHcQbnHu6MTvX0GQU=
//	2026-05 1oIRdAFVE8U3smhWR4C6iXnJYvLwrgIfGcUQCR4gZ3M=
//
// An id has up to 32 letters, digits, dots, hyphens and underscores. What is wrong with the file is
// ErrKeyFile and names the line.
func LoadKeys(path string) (*Keys, error) {
	ring, err := readRing(path)
	if err != nil {
		return nil, err
	}
	k := &Keys{path: path}
	k.mu.ring = ring
	return k, nil
}

// String tells the ids and no key.
func (k *Keys) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.ring.String()
}

// GoString tells the ids and no key.
func (k *Keys) GoString() string { return k.String() }

// String tells the ids and no key.
func (r ring) String() string {
	return fmt.Sprintf("keys %s, current is %s", strings.Join(slices.Sorted(maps.Keys(r.keys)), ", "), r.current)
}

// current is the key that encrypts.
func (k *Keys) current() (id string, key []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.ring.current, k.mu.ring.keys[k.mu.ring.current]
}

// find returns the key of an object's header.
func (k *Keys) find(id string) ([]byte, error) {
	k.mu.Lock()
	key, ring := k.mu.ring.keys[id], k.mu.ring
	k.mu.Unlock()
	if key != nil {
		return key, nil
	}
	read, err := readRing(k.path)
	if err != nil {
		return nil, fmt.Errorf("%w: no key %q (%s), and reading the key file again failed: %w", ErrKey, id, ring, err)
	}
	if key = read.keys[id]; key == nil {
		return nil, fmt.Errorf("%w: no key %q in key file %s (%s): add it again, it is needed until no object uses it", ErrKey, id, k.path, read)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.ring = read
	return key, nil
}

func readRing(path string) (ring, error) {
	file, err := os.Open(path)
	if err != nil {
		return ring{}, fmt.Errorf("read key file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFileBytes+1))
	if err != nil {
		return ring{}, fmt.Errorf("read key file: %w", err)
	}
	if len(text) > maxKeyFileBytes {
		return ring{}, fmt.Errorf("read key file %s: %w: it has more than %d bytes", path, ErrKeyFile, maxKeyFileBytes)
	}
	r, err := parseRing(string(text))
	if err != nil {
		return ring{}, fmt.Errorf("read key file %s: %w: %w", path, ErrKeyFile, err)
	}
	return r, nil
}

// parseRing never quotes more of a line than its first word if that is an id: the rest may be a key.
func parseRing(text string) (ring, error) {
	r := ring{keys: map[string][]byte{}}
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := r.add(fields); err != nil {
			return ring{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	switch {
	case r.current == "":
		return ring{}, errors.New(`no line says which key encrypts: add "current" and its id`)
	case r.keys[r.current] == nil:
		return ring{}, fmt.Errorf("the current key %q has no line", r.current)
	}
	return r, nil
}

func (r *ring) add(fields []string) error {
	if len(fields) != 2 {
		return errors.New(`it is neither "current" and an id nor an id and a key`)
	}
	if fields[0] == currentWord {
		if r.current != "" {
			return errors.New("a second line says which key encrypts")
		}
		if !idForm.MatchString(fields[1]) {
			return errors.New("what follows current is not an id")
		}
		r.current = fields[1]
		return nil
	}
	id := fields[0]
	if !idForm.MatchString(id) {
		return errors.New("its first word is not an id: up to 32 letters, digits, dots, hyphens and underscores")
	}
	if r.keys[id] != nil {
		return fmt.Errorf("key %q is there twice", id)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil || len(key) != keyBytes {
		return fmt.Errorf("key %q is not %d bytes in base64: make one with openssl rand -base64 %d", id, keyBytes, keyBytes)
	}
	r.keys[id] = key
	return nil
}
