// SPDX-License-Identifier: Apache-2.0

package protobuf

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/streamd/streamd/operators/codec"
)

// Codec is the codec of a message type M, a pointer to a generated message. Of makes it.
type Codec[M proto.Message] struct {
	message protoreflect.MessageType
	prefix  []byte // the encoded path to the message within its file
}

// Of returns the codec of a message type, such as *pb.Order.
func Of[M proto.Message]() Codec[M] {
	var none M
	message := none.ProtoReflect().Type()
	return Codec[M]{message: message, prefix: appendPath(nil, pathTo(message.Descriptor()))}
}

// ID is "protobuf:" and the message's full name.
func (c Codec[M]) ID() string { return "protobuf:" + string(c.message.Descriptor().FullName()) }

// Append appends the message. A nil message is written as an empty one.
func (c Codec[M]) Append(dst []byte, m M) ([]byte, error) {
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("marshal: %w", err)
	}
	return out, nil
}

// Decode reads a message that shares no memory with src.
func (c Codec[M]) Decode(src []byte) (M, error) {
	m := c.message.New().Interface().(M)
	if err := proto.Unmarshal(src, m); err != nil {
		var none M
		return none, fmt.Errorf("unmarshal: %w", err)
	}
	return m, nil
}

// AppendJSON appends the message as Protobuf's own JSON, without spaces.
func (c Codec[M]) AppendJSON(dst []byte, m M) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return dst, fmt.Errorf("marshal as JSON: %w", err)
	}
	compact := jsontext.Value(text)
	if err := compact.Compact(); err != nil {
		return dst, fmt.Errorf("marshal as JSON: %w", err)
	}
	return append(dst, compact...), nil
}

// DecodeJSON reads a message from Protobuf's own JSON.
func (c Codec[M]) DecodeJSON(src []byte) (M, error) {
	m := c.message.New().Interface().(M)
	if err := protojson.Unmarshal(src, m); err != nil {
		var none M
		return none, fmt.Errorf("unmarshal JSON: %w", err)
	}
	return m, nil
}

// Schema returns the message's file as registries take it: as a serialized descriptor in base64. What the file imports
// is referred to, but for what Protobuf itself brings along.
func (c Codec[M]) Schema() (codec.Schema, error) {
	return schemaOf(c.message.Descriptor().ParentFile())
}

// Prefix returns what stands between a schema's id and the message in the wire format of registries: which message of
// the file it is.
func (c Codec[M]) Prefix() []byte { return c.prefix }

// Reader returns what decodes messages, Prefix included, that were written by another version of the schema. Where the
// version's text is a descriptor in base64, the prefix is looked up in it, as messages may have moved within their file;
// from other texts nothing can be learned, and the prefix is expected to be the one of this version.
func (c Codec[M]) Reader(s codec.Schema) (func(src []byte) (M, error), error) {
	if s.Kind != codec.ProtobufSchema {
		return nil, fmt.Errorf("the schema is of kind %s, not %s", s.Kind, codec.ProtobufSchema)
	}
	want := c.message.Descriptor()
	file := fileOf(s.Text)
	return func(src []byte) (M, error) {
		path, message, err := cutPath(src)
		if err != nil {
			var none M
			return none, err
		}
		if name, known := nameAt(file, path); known && name != want.FullName() || !known && !slices.Equal(path, pathTo(want)) {
			var none M
			return none, fmt.Errorf("it is another message of the schema than %s, at the path %v", want.FullName(), path)
		}
		return c.Decode(message)
	}, nil
}

// pathTo returns the indexes that lead to a message, from the outermost one of its file.
func pathTo(m protoreflect.MessageDescriptor) []int {
	path := []int{m.Index()}
	for outer, ok := m.Parent().(protoreflect.MessageDescriptor); ok; outer, ok = outer.Parent().(protoreflect.MessageDescriptor) {
		path = append(path, outer.Index())
	}
	slices.Reverse(path)
	return path
}

// appendPath encodes a path: its length, then the indexes, as zigzag varints. The commonest, the file's first message,
// is a single zero.
func appendPath(dst []byte, path []int) []byte {
	if slices.Equal(path, []int{0}) {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(len(path)))
	for _, i := range path {
		dst = binary.AppendVarint(dst, int64(i))
	}
	return dst
}

// maxDepth is more than any file nests its messages, and keeps foreign bytes from allocating.
const maxDepth = 64

var errPath = errors.New("what stands before the message does not say which message it is")

// cutPath splits a path off the front of src.
func cutPath(src []byte) (path []int, rest []byte, err error) {
	depth, n := binary.Varint(src)
	if n <= 0 || depth < 0 || depth > maxDepth {
		return nil, nil, errPath
	}
	src = src[n:]
	if depth == 0 {
		return []int{0}, src, nil
	}
	for range depth {
		i, n := binary.Varint(src)
		if n <= 0 || i < 0 || i > 1<<20 {
			return nil, nil, errPath
		}
		path, src = append(path, int(i)), src[n:]
	}
	return path, src, nil
}

// schemaOf describes a file and what it imports.
func schemaOf(file protoreflect.FileDescriptor) (codec.Schema, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		return codec.Schema{}, fmt.Errorf("describe %s: %w", file.Path(), err)
	}
	s := codec.Schema{Kind: codec.ProtobufSchema, Text: base64.StdEncoding.EncodeToString(raw)}
	imports := file.Imports()
	for i := range imports.Len() {
		imported := imports.Get(i)
		if strings.HasPrefix(imported.Path(), "google/protobuf/") {
			continue // Every registry has these.
		}
		described, err := schemaOf(imported.FileDescriptor)
		if err != nil {
			return codec.Schema{}, err
		}
		s.References = append(s.References, codec.SchemaReference{Name: imported.Path(), Schema: described})
	}
	return s, nil
}

// fileOf reads a descriptor in base64, nil if the text is something else.
func fileOf(text string) *descriptorpb.FileDescriptorProto {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	var file descriptorpb.FileDescriptorProto
	if proto.Unmarshal(raw, &file) != nil {
		return nil
	}
	return &file
}

// nameAt returns the full name of the message at a path of a file, empty if there is none. It is known only where the
// file is.
func nameAt(file *descriptorpb.FileDescriptorProto, path []int) (name protoreflect.FullName, known bool) {
	if file == nil {
		return "", false
	}
	name, messages := protoreflect.FullName(file.GetPackage()), file.GetMessageType()
	for _, i := range path {
		if i >= len(messages) {
			return "", true
		}
		name = name.Append(protoreflect.Name(messages[i].GetName()))
		messages = messages[i].GetNestedType()
	}
	return name, true
}
