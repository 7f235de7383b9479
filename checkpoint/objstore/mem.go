// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a Store in memory, for tests and for runs that keep nothing. The zero value is not usable.
type Mem struct {
	mu struct {
		sync.RWMutex
		objects map[string]memObject
	}
}

type memObject struct {
	content  []byte // never changed in place
	modified time.Time
}

// NewMem returns an empty store.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.objects = map[string]memObject{}
	return m
}

// Get implements Store.
func (m *Mem) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return m.GetRange(ctx, name, 0, -1)
}

// GetRange implements Store.
func (m *Mem) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := CheckRange(offset, length); err != nil {
		return nil, fmt.Errorf("get object %s: %w", name, err)
	}
	object, err := m.lookup(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	size := int64(len(object.content))
	whole := offset == 0 && length < 0
	if offset >= size && !whole {
		return nil, fmt.Errorf("get object %s: it has %d bytes, asked from %d on: %w", name, size, offset, ErrRange)
	}
	part := object.content[offset:]
	if length >= 0 && length < int64(len(part)) {
		part = part[:length]
	}
	return io.NopCloser(bytes.NewReader(part)), nil
}

// Put implements Store.
func (m *Mem) Put(ctx context.Context, name string, body Body) error {
	return m.write(ctx, "put", name, body, true)
}

// Create implements Store.
func (m *Mem) Create(ctx context.Context, name string, body Body) error {
	return m.write(ctx, "create", name, body, false)
}

func (m *Mem) write(ctx context.Context, verb, name string, body Body, replace bool) error {
	if err := check(ctx, name); err != nil {
		return fmt.Errorf("%s object: %w", verb, err)
	}
	content := make([]byte, body.Size())
	if _, err := io.ReadFull(io.NewSectionReader(body, 0, body.Size()), content); err != nil {
		return fmt.Errorf("%s object %s: read its content: %w", verb, name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.mu.objects[name]; exists && !replace {
		return fmt.Errorf("create object %s: %w", name, ErrExists)
	}
	m.mu.objects[name] = memObject{content: content, modified: time.Now()}
	return nil
}

// Delete implements Store.
func (m *Mem) Delete(ctx context.Context, name string) error {
	if err := check(ctx, name); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.objects, name)
	return nil
}

// List implements Store. It yields the objects there were when it began.
func (m *Mem) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := CheckPrefix(prefix); err != nil {
			yield(Info{}, fmt.Errorf("list objects: %w", err))
			return
		}
		for _, info := range m.snapshot(prefix) {
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list objects %s: %w", prefix, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (m *Mem) snapshot(prefix string) []Info {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var infos []Info
	for name, object := range m.mu.objects {
		if strings.HasPrefix(name, prefix) {
			infos = append(infos, Info{Name: name, Size: int64(len(object.content)), Modified: object.modified})
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

// Stat implements Store.
func (m *Mem) Stat(ctx context.Context, name string) (Info, error) {
	object, err := m.lookup(ctx, "stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{Name: name, Size: int64(len(object.content)), Modified: object.modified}, nil
}

func (m *Mem) lookup(ctx context.Context, verb, name string) (memObject, error) {
	if err := check(ctx, name); err != nil {
		return memObject{}, fmt.Errorf("%s object: %w", verb, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	object, ok := m.mu.objects[name]
	if !ok {
		return memObject{}, fmt.Errorf("%s object %s: %w", verb, name, ErrNotFound)
	}
	return object, nil
}

func check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return CheckName(name)
}
