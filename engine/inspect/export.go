// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
)

// Writer writes rows for other tools. Close writes what is held back, and does not close what is below.
type Writer interface {
	Write(Row) error
	Close() error
}

// NewJSONL writes each row as a JSON object on a line of its own, with the name of its store.
func NewJSONL(w io.Writer) Writer { return &jsonl{w: bufio.NewWriterSize(w, 1<<16)} }

type jsonl struct {
	w    *bufio.Writer
	line []byte
}

func (j *jsonl) Write(r Row) error {
	j.line = append(r.AppendJSON(j.line[:0], true), '\n')
	if _, err := j.w.Write(j.line); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

func (j *jsonl) Close() error {
	if err := j.w.Flush(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// ErrUntyped says that a row does not fit the types of its store's columns.
var ErrUntyped = errors.New("the row does not fit its column")

// rowGroupBytes is how much of a store is collected before it is written as a row group, before compression.
const rowGroupBytes = 16 << 20

// NewParquet writes the rows of one store as Parquet, compressed with Zstandard: the columns key, subKey and time where
// the store has them, value, task and partition. Texts, numbers, truth values and times, which have microseconds, have
// the type of their codec; JSON is text of the type JSON; all else is bytes. A row with a part that its codec has refused
// is ErrUntyped, unless the column holds bytes.
func NewParquet(w io.Writer, s *Store) Writer {
	group := parquet.Group{
		"key": columnOf(s.KeyType()), "value": parquet.Optional(columnOf(s.ValueType())),
		"task": parquet.String(), "partition": parquet.Int(32),
	}
	if s.HasSubKey() {
		group["subKey"] = columnOf(s.SubKeyType())
	}
	if s.Timed() {
		group["time"] = parquet.Optional(columnOf(Time))
	}
	schema := parquet.NewSchema("store", group)
	p := &parquetWriter{store: s, out: parquet.NewGenericWriter[any](w, schema, parquet.Compression(&parquet.Zstd), parquet.KeyValueMetadata("streamd.store", s.Name))}
	for _, f := range group.Fields() { // in the order of the columns
		p.columns = append(p.columns, f.Name())
	}
	return p
}

func columnOf(t Type) parquet.Node {
	switch t {
	case String:
		return parquet.String()
	case Int:
		return parquet.Int(64)
	case Uint:
		return parquet.Uint(64)
	case Float:
		return parquet.Leaf(parquet.DoubleType)
	case Bool:
		return parquet.Leaf(parquet.BooleanType)
	case Time:
		return parquet.Timestamp(parquet.Microsecond)
	case JSON:
		return parquet.JSON()
	}
	return parquet.Leaf(parquet.ByteArrayType)
}

type parquetWriter struct {
	store   *Store
	out     *parquet.GenericWriter[any]
	columns []string
	row     parquet.Row
	size    int // of the row group so far
}

func (p *parquetWriter) Write(r Row) error {
	p.row = p.row[:0]
	for i, name := range p.columns {
		v, optional, err := p.cell(name, r)
		if err != nil {
			return fmt.Errorf("store %s of task %s, key %s: %s: %w: write JSONL, which takes any row", r.Store, r.Task, Text(r.Key), name, err)
		}
		level := 0
		if optional && !v.IsNull() {
			level = 1
		}
		p.size += 16
		if v.Kind() == parquet.ByteArray {
			p.size += len(v.ByteArray())
		}
		p.row = append(p.row, v.Level(0, level, i))
	}
	if _, err := p.out.WriteRows([]parquet.Row{p.row}); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if p.size < rowGroupBytes {
		return nil
	}
	p.size = 0
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

func (p *parquetWriter) Close() error {
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

func (p *parquetWriter) cell(name string, r Row) (v parquet.Value, optional bool, err error) {
	switch name {
	case "key":
		v, err = typed(p.store.KeyType(), r.Key)
	case "subKey":
		v, err = typed(p.store.SubKeyType(), r.SubKey)
	case "value":
		v, err = typed(p.store.ValueType(), r.Value)
		return v, true, err
	case "time":
		if !r.Timed {
			return parquet.NullValue(), true, nil
		}
		v, err = typed(Time, r.Time)
		return v, true, err
	case "task":
		v = parquet.ByteArrayValue([]byte(r.Task.String()))
	case "partition":
		v = parquet.Int32Value(r.Task.Partition)
	}
	return v, false, err
}

// typed turns a value into one of a column.
func typed(t Type, v any) (parquet.Value, error) {
	if v == nil {
		return parquet.NullValue(), nil
	}
	switch t {
	case JSON:
		if text, ok := v.(jsontext.Value); ok {
			return parquet.ByteArrayValue(text), nil
		}
		if _, isBytes := v.([]byte); !isBytes { // of a codec that was another one
			return parquet.ByteArrayValue(JSONOf(v)), nil
		}
	case Bytes:
		if b, ok := v.([]byte); ok {
			return parquet.ByteArrayValue(b), nil
		}
	default:
		if cell, ok := scalar(t, v); ok {
			return cell, nil
		}
	}
	return parquet.Value{}, fmt.Errorf("%w, since its codec does not read it", ErrUntyped)
}

func scalar(t Type, v any) (parquet.Value, bool) {
	switch v := v.(type) {
	case string:
		return parquet.ByteArrayValue([]byte(v)), t == String
	case int64:
		return parquet.Int64Value(v), t == Int
	case uint64:
		return parquet.Int64Value(int64(v)), t == Uint
	case float64:
		return parquet.DoubleValue(v), t == Float
	case bool:
		return parquet.BooleanValue(v), t == Bool
	case time.Time:
		return parquet.Int64Value(v.UnixMicro()), t == Time
	}
	return parquet.Value{}, false
}
