// SPDX-License-Identifier: Apache-2.0

package protobuf_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/typepb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/protobuf"
)

var _ codec.Codec[*timestamppb.Timestamp] = protobuf.Of[*timestamppb.Timestamp]()

func TestMessageComesBackWithoutSharingMemory(t *testing.T) {
	t.Parallel()
	c := protobuf.Of[*wrapperspb.BytesValue]()
	want := wrapperspb.Bytes([]byte("value"))
	got, err := c.Append([]byte("before"), want)
	if err != nil {
		t.Fatal(err)
	}
	encoded, ok := bytes.CutPrefix(got, []byte("before"))
	if !ok {
		t.Fatal("the bytes before the message changed")
	}
	m, err := c.Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	clear(encoded)
	if diff := cmp.Diff(want, m, protocmp.Transform()); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
	if c.ID() != "protobuf:google.protobuf.BytesValue" {
		t.Fatalf("id %q", c.ID())
	}
}

func TestMapsAreWrittenInOneOrder(t *testing.T) {
	t.Parallel()
	c := protobuf.Of[*structpb.Struct]()
	var first []byte
	for range 20 {
		s, err := structpb.NewStruct(map[string]any{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5})
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Append(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatal("two encodings of one value")
		}
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	t.Parallel()
	newer, err := proto.Marshal(&timestamppb.Timestamp{Seconds: 5, Nanos: 7})
	if err != nil {
		t.Fatal(err)
	}
	older := protobuf.Of[*wrapperspb.Int64Value]() // It has the first of the two fields.
	m, err := older.Decode(newer)
	if err != nil || m.Value != 5 {
		t.Fatalf("decoded %v, %v", m, err)
	}
	again, err := older.Append(nil, m)
	if err != nil || !bytes.Equal(newer, again) {
		t.Fatalf("% x became % x, %v", newer, again, err)
	}
}

func TestViewOfAMessageIsProtobufsOwnJSON(t *testing.T) {
	t.Parallel()
	c := protobuf.Of[*timestamppb.Timestamp]()
	b, err := c.Append(nil, &timestamppb.Timestamp{Seconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	view := codec.Views(codec.Codec[*timestamppb.Timestamp](c))[c.ID()]
	text, err := view.JSON(b)
	if err != nil || string(text) != `"1970-01-01T00:01:00Z"` {
		t.Fatalf("shown as %s, %v", text, err)
	}
	if again, err := view.Encode(text); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("encoded as % x, %v", again, err)
	}
	if _, err := view.Encode([]byte("{}")); err == nil {
		t.Fatal("an object was taken for a timestamp")
	}
}

func TestMissingRequiredFieldIsAnError(t *testing.T) {
	t.Parallel()
	c := protobuf.Of[*descriptorpb.UninterpretedOption_NamePart]()
	if out, err := c.Append([]byte("kept"), &descriptorpb.UninterpretedOption_NamePart{}); err == nil || string(out) != "kept" {
		t.Fatalf("a message without its required fields became %q, %v", out, err)
	}
	if _, err := c.Decode(nil); err == nil {
		t.Fatal("a message without its required fields was decoded")
	}
}

func FuzzForeignBytes(f *testing.F) {
	c := protobuf.Of[*structpb.Value]()
	reader, err := c.Reader(codec.Schema{Kind: codec.ProtobufSchema, Text: "not a descriptor"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x1a, 0x06, 's', 'e', 'c', 'r', 'e', 0xff})
	f.Add([]byte{0x02, 0x02, 0x1a, 0x00})
	f.Fuzz(func(t *testing.T, src []byte) {
		kept := bytes.Clone(src)
		for _, decode := range []func([]byte) (*structpb.Value, error){c.Decode, reader} {
			m, err := decode(src)
			if (m == nil) == (err == nil) {
				t.Fatalf("decoded %v, %v", m, err)
			}
			if err != nil && strings.Contains(err.Error(), "secre") {
				t.Fatalf("error quotes user data: %s", err)
			}
		}
		if !bytes.Equal(kept, src) {
			t.Fatal("decode changed its source")
		}
	})
}

func TestSchemaIsTheFileWithItsImports(t *testing.T) {
	t.Parallel()
	s, err := protobuf.Of[*typepb.Type]().Schema()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(s.Text)
	if err != nil {
		t.Fatal(err)
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if s.Kind != codec.ProtobufSchema || file.GetName() != "google/protobuf/type.proto" {
		t.Fatalf("%s schema of the file %s", s.Kind, file.GetName())
	}
	if len(s.References) != 0 { // It imports any.proto and source_context.proto, which registries have.
		t.Fatalf("references %v", s.References)
	}
}

func TestPrefixIsThePathToTheMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ got, want []byte }{
		"first of the file":  {protobuf.Of[*timestamppb.Timestamp]().Prefix(), []byte{0}},
		"second of the file": {protobuf.Of[*structpb.Value]().Prefix(), []byte{2, 2}},
		"nested":             {protobuf.Of[*descriptorpb.DescriptorProto_ReservedRange]().Prefix(), []byte{4, 4, 2}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: % x, want % x", name, c.got, c.want)
		}
	}
}

// TestMessageIsFoundWhereTheWritersFileHasIt has a writer whose file has the message in another place.
func TestMessageIsFoundWhereTheWritersFileHasIt(t *testing.T) {
	t.Parallel()
	c := protobuf.Of[*timestamppb.Timestamp]()
	file := protodesc.ToFileDescriptorProto((&timestamppb.Timestamp{}).ProtoReflect().Descriptor().ParentFile())
	other := &descriptorpb.DescriptorProto{Name: proto.String("Other")}
	file.MessageType = append([]*descriptorpb.DescriptorProto{other}, file.MessageType...)
	raw, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	read, err := c.Reader(codec.Schema{Kind: codec.ProtobufSchema, Text: base64.StdEncoding.EncodeToString(raw)})
	if err != nil {
		t.Fatal(err)
	}
	want := timestamppb.New(time.Unix(5, 7))
	message, err := c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(append([]byte{2, 2}, message...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("decoded (-want +got):\n%s", diff)
	}
	for _, prefix := range [][]byte{{0}, {2, 4}, {4, 2, 0}} {
		if _, err := read(append(prefix, message...)); err == nil {
			t.Errorf("another message, at % x, was decoded", prefix)
		}
	}
	if _, err := c.Reader(codec.Schema{Kind: codec.AvroSchema, Text: `"string"`}); err == nil {
		t.Error("an Avro schema has a reader")
	}
}
