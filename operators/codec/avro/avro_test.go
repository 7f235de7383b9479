// SPDX-License-Identifier: Apache-2.0

package avro_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/avro"
)

type order struct {
	Customer string    `avro:"customer"`
	Cents    int64     `avro:"cents"`
	Note     *string   `avro:"note"`
	Raw      []byte    `avro:"raw"`
	At       time.Time `avro:"at"`
}

type nested struct {
	Inner []labels `avro:"inner"`
}

type labels struct {
	All map[string]string `avro:"all"`
}

var _ codec.Codec[order] = avro.Of[order]()

func sample() order {
	note := "gift"
	return order{Customer: "ann", Cents: -12, Note: &note, Raw: []byte("raw"), At: time.UnixMilli(1234).UTC()}
}

func TestStructComesBackWithoutSharingMemory(t *testing.T) {
	t.Parallel()
	c := avro.Of[order]()
	got, err := c.Append([]byte("before"), sample())
	if err != nil {
		t.Fatal(err)
	}
	encoded, ok := bytes.CutPrefix(got, []byte("before"))
	if !ok {
		t.Fatal("the bytes before the value changed")
	}
	again, err := c.Append(nil, sample())
	if err != nil || !bytes.Equal(again, encoded) {
		t.Fatalf("two encodings of one value, %v", err)
	}
	v, err := c.Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	clear(encoded)
	if diff := cmp.Diff(sample(), v); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
	if _, err := c.Decode(append(again, 0)); err == nil {
		t.Fatal("a byte behind the value was ignored")
	}
}

func TestIDChangesWithTheBytesOnly(t *testing.T) {
	t.Parallel()
	const record = `{"type":"record","name":"order","doc":"%doc","fields":[{"name":"cents","type":%type,"default":%default}]}`
	id := func(doc, typ, value string) string {
		c := avro.With[struct {
			Cents int64 `avro:"cents"`
		}](strings.NewReplacer("%doc", doc, "%type", typ, "%default", value).Replace(record))
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		return c.ID()
	}
	first := id("", `"long"`, "0")
	if !strings.HasPrefix(first, "avro:order:") {
		t.Fatalf("id %q", first)
	}
	if other := id("what a customer wants", `"long"`, "1"); first != other {
		t.Fatalf("documentation and default made %s of %s", other, first)
	}
	for _, typ := range []string{`"int"`, `{"type":"long","logicalType":"timestamp-millis"}`} {
		if other := id("", typ, "0"); first == other {
			t.Fatalf("a field of type %s changed the bytes and not the id", typ)
		}
	}
}

func TestOnlyAMapMakesTheEncodingAmbiguous(t *testing.T) {
	t.Parallel()
	if avro.Of[order]().Ambiguous() || !avro.Of[labels]().Ambiguous() || !avro.Of[nested]().Ambiguous() {
		t.Fatal("a map makes several encodings of a value, and nothing else does")
	}
}

func TestCodecWithoutASchemaSaysWhy(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"a channel": codec.Err(avro.Of[struct{ C chan int }]()),
		"no struct": codec.Err(avro.Of[int]()),
		"bad JSON":  codec.Err(avro.With[order](`{"type":`)),
		"no type":   codec.Err(avro.With[order](`{"type":"monad"}`)),
	} {
		if err == nil {
			t.Errorf("%s has a schema", name)
		}
	}
	if err := codec.Err(avro.Of[order]()); err != nil {
		t.Error(err)
	}
	broken := avro.With[order](`{`)
	if _, err := broken.Append(nil, order{}); err == nil {
		t.Error("a value was written without a schema")
	}
	if _, err := broken.Decode(nil); err == nil {
		t.Error("a value was read without a schema")
	}
}

func TestFormerAndLaterSchemasAreResolved(t *testing.T) {
	t.Parallel()
	type was struct {
		Customer string `avro:"customer"`
		Cents    int32  `avro:"cents"`
		Gone     string `avro:"gone"`
	}
	type is struct {
		Customer string `avro:"customer"`
		Cents    int64  `avro:"cents"`
		Currency string `avro:"currency,default=EUR"`
	}
	former := avro.With[was](`{"type":"record","name":"order","fields":[
		{"name":"gone","type":"string"},{"name":"customer","type":"string"},{"name":"cents","type":"int"}]}`)
	written, err := former.Append(nil, was{Customer: "ann", Cents: 7, Gone: "x"})
	if err != nil {
		t.Fatal(err)
	}
	c := avro.With[is](`{"type":"record","name":"order","fields":[{"name":"customer","type":"string"},
		{"name":"cents","type":"long"},{"name":"currency","type":"string","default":"EUR"}]}`)
	schema, err := former.Schema()
	if err != nil {
		t.Fatal(err)
	}
	read, err := c.Reader(schema)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(written)
	if want := (is{Customer: "ann", Cents: 7, Currency: "EUR"}); err != nil || got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
	schema.Text = `{"type":"record","name":"order","fields":[{"name":"customer","type":"string"}]}`
	if _, err := c.Reader(schema); err == nil || !strings.Contains(err.Error(), "cents") {
		t.Fatalf("a schema without a field that has no default: %v", err)
	}
}

func TestReferencesOfASchemaAreParsedFirst(t *testing.T) {
	t.Parallel()
	type address struct {
		City string `avro:"city"`
	}
	type customer struct {
		Home address `avro:"home"`
	}
	city := codec.Schema{Kind: codec.AvroSchema, Text: `{"type":"record","name":"address","fields":[{"name":"city","type":"string"}]}`}
	writer := codec.Schema{Kind: codec.AvroSchema, Text: `{"type":"record","name":"customer","fields":[{"name":"home","type":"address"}]}`,
		References: []codec.SchemaReference{{Name: "address", Schema: city}}}
	c := avro.Of[customer]()
	read, err := c.Reader(writer)
	if err != nil {
		t.Fatal(err)
	}
	written, err := c.Append(nil, customer{Home: address{City: "Oslo"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(written); err != nil || got.Home.City != "Oslo" {
		t.Fatalf("read %+v, %v", got, err)
	}
	if _, err := c.Reader(codec.Schema{Kind: codec.AvroSchema, Text: writer.Text}); err == nil {
		t.Fatal("a schema was parsed without what it refers to")
	}
	if _, err := c.Reader(codec.Schema{Kind: codec.JSONSchema, Text: "{}"}); err == nil {
		t.Fatal("a JSON schema has an Avro reader")
	}
}

func FuzzForeignBytes(f *testing.F) {
	c := avro.Of[order]()
	good, err := c.Append(nil, sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append([]byte{12}, "secret"...))
	f.Fuzz(func(t *testing.T, src []byte) {
		kept := bytes.Clone(src)
		if _, err := c.Decode(src); err != nil && strings.Contains(err.Error(), "secret") {
			t.Fatalf("error quotes user data: %s", err)
		}
		if !bytes.Equal(kept, src) {
			t.Fatal("decode changed its source")
		}
	})
}
