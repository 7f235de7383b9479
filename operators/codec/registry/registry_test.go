// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	schema "github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/avro"
	"github.com/streamd/streamd/operators/codec/protobuf"
	"github.com/streamd/streamd/operators/codec/registry"
)

type order struct {
	Customer string `avro:"customer" json:"customer"`
	Cents    int64  `avro:"cents" json:"cents"`
}

const orderSchema = `{"type":"object","properties":{"customer":{"type":"string"},"cents":{"type":"integer"}}}`

// world is a registry with a count of what was asked of it.
type world struct {
	*srfake.Registry
	mu struct {
		sync.Mutex
		requests []string
		status   int // what it answers; 0: as it should
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Registry: srfake.New()}
	t.Cleanup(w.Close)
	w.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.requests = append(w.mu.requests, r.Method+" "+r.URL.Path)
		if w.mu.status == 0 {
			return false
		}
		rw.WriteHeader(w.mu.status)
		_, _ = rw.Write([]byte(`{"error_code":50001,"message":"out of order"}`))
		return true
	})
	return w
}

// answer makes the registry fail with a status, or work again.
func (w *world) answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.status = status
}

// asked returns the requests since the last call.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	requests := w.mu.requests
	w.mu.requests = nil
	return requests
}

func (w *world) client() *registry.Registry { return registry.New(sr.URLs(w.URL())).Hasty() }

// open opens a codec for reading and writing, as a process that does both.
func open[T any](t *testing.T, c codec.Codec[T]) codec.Codec[T] {
	t.Helper()
	opener := c.(codec.Opener)
	if err := errors.Join(opener.OpenReader(t.Context()), opener.OpenWriter(t.Context())); err != nil {
		t.Fatal(err)
	}
	return c
}

// travel writes with one codec and reads with another one.
func travel[T any](t *testing.T, from, to codec.Codec[T], v T) (T, []byte) {
	t.Helper()
	b, err := from.Append([]byte("before"), v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := to.Decode(b[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	return got, b[len("before"):]
}

func TestEveryFormatTravelsInTheWireFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := order{Customer: "ann", Cents: 12}
	t.Run("avro", func(t *testing.T) {
		got, raw := travel(t, open(t, registry.Value(w.client(), "a", avro.Of[order]())),
			registry.Value(w.client(), "a", avro.Of[order]()), want)
		plain, err := avro.Of[order]().Append(nil, want)
		if err != nil || got != want || raw[0] != 0 || binary.BigEndian.Uint32(raw[1:]) == 0 || string(raw[5:]) != string(plain) {
			t.Fatalf("%+v of % x, %v", got, raw, err)
		}
	})
	t.Run("json", func(t *testing.T) {
		got, raw := travel(t, open(t, registry.Key(w.client(), "j", registry.JSON[order](orderSchema))),
			registry.Key(w.client(), "j", registry.JSON[order](orderSchema)), want)
		if got != want || string(raw[5:]) != `{"customer":"ann","cents":12}` {
			t.Fatalf("%+v of % x", got, raw)
		}
	})
	t.Run("protobuf", func(t *testing.T) {
		want := timestamppb.New(time.Unix(5, 7))
		got, raw := travel(t, open(t, registry.Value(w.client(), "p", protobuf.Of[*timestamppb.Timestamp]())),
			registry.Value(w.client(), "p", protobuf.Of[*timestamppb.Timestamp]()), want)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || raw[5] != 0 {
			t.Fatalf("of % x (-want +got):\n%s", raw, diff)
		}
	})
	for _, subject := range []string{"a-value", "j-key", "p-value"} {
		if !w.SubjectExists(subject) {
			t.Errorf("subject %s was not registered", subject)
		}
	}
}

func TestRegistryIsAskedPerSchemaNotPerRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	writer := open(t, registry.Value(w.client(), "orders", avro.Of[order]()))
	reader := registry.Value(w.client(), "orders", avro.Of[order]())
	w.asked()
	for i := range 100 {
		travel(t, writer, reader, order{Cents: int64(i)})
	}
	if got := w.asked(); len(got) != 1 {
		t.Fatalf("100 records of one schema asked %q", got)
	}
	w.answer(http.StatusServiceUnavailable)
	travel(t, writer, reader, order{Cents: 1}) // A schema that is known needs no registry.
	garbage := []byte{0, 0, 0, 0x10, 0, 1}
	w.answer(0)
	w.asked()
	for range 100 {
		if _, err := reader.Decode(garbage); err == nil || errors.Is(err, codec.ErrUnavailable) {
			t.Fatalf("a schema id that does not exist: %v", err)
		}
	}
	if got := w.asked(); len(got) != 1 {
		t.Fatalf("100 records of a schema that does not exist asked %q", got)
	}
}

func TestReaderRegistersNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := registry.Value(w.client(), "orders", avro.Of[order]())
	if err := c.(codec.Opener).OpenReader(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.SubjectExists("orders-value") {
		t.Fatal("reading registered a schema")
	}
	if _, err := c.Append(nil, order{}); err == nil {
		t.Fatal("a codec that was opened for reading wrote")
	}
}

func TestOtherVersionsOfASchemaAreRead(t *testing.T) {
	t.Parallel()
	type former struct {
		Customer string `avro:"customer"`
		Cents    int32  `avro:"cents"`
		Gone     string `avro:"gone"`
	}
	w := newWorld(t)
	writer := open(t, registry.Value(w.client(), "orders", avro.Of[former](schema.WithName("order"))))
	b, err := writer.Append(nil, former{Customer: "ann", Cents: 3, Gone: "x"})
	if err != nil {
		t.Fatal(err)
	}
	reader := open(t, registry.Value(w.client(), "orders", avro.Of[order]()))
	if got, err := reader.Decode(b); err != nil || got != (order{Customer: "ann", Cents: 3}) {
		t.Fatalf("read %+v, %v", got, err)
	}
}

func TestSchemaThatCannotBeReadEndsTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, err := w.RegisterSchema("orders-value", sr.Schema{Schema: `{"type":"record","name":"order","fields":[{"name":"customer","type":"string"}]}`})
	if err != nil {
		t.Fatal(err)
	}
	c := registry.Value(w.client(), "orders", avro.Of[order]())
	if err := c.(codec.Opener).OpenReader(t.Context()); err == nil || !strings.Contains(err.Error(), "version 1") || !strings.Contains(err.Error(), "cents") {
		t.Fatalf("opened a reader: %v", err)
	}
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	if _, err := c.Decode(append(b, 6, 'a', 'n', 'n')); err == nil || errors.Is(err, codec.ErrUnavailable) {
		t.Fatalf("a record of the schema: %v", err)
	}
}

func TestAbsentRegistryIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	writer := open(t, registry.Value(w.client(), "orders", avro.Of[order]()))
	b, err := writer.Append(nil, order{})
	if err != nil {
		t.Fatal(err)
	}
	for status, todo := range map[int]string{
		http.StatusServiceUnavailable: "check that the registry is up",
		http.StatusUnauthorized:       "check the credentials",
	} {
		w.answer(status)
		w.asked()
		c := registry.Value(w.client(), "orders", avro.Of[order]())
		err := c.(codec.Opener).OpenWriter(t.Context())
		if !errors.Is(err, codec.ErrUnavailable) || !strings.Contains(err.Error(), w.URL()) ||
			!strings.Contains(err.Error(), `"orders-value"`) || !strings.Contains(err.Error(), todo) {
			t.Errorf("status %d at the start: %v", status, err)
		}
		if got := len(w.asked()); got != 5 {
			t.Errorf("status %d: %d attempts", status, got)
		}
		if _, err := c.Decode(b); !errors.Is(err, codec.ErrUnavailable) || !strings.Contains(err.Error(), todo) {
			t.Errorf("status %d at a record: %v", status, err)
		}
	}
	w.answer(0)
	if _, err := registry.Value(w.client(), "orders", avro.Of[order]()).Decode(b); err != nil {
		t.Fatalf("the registry is back: %v", err)
	}
	w.answer(http.StatusServiceUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := registry.Value(w.client(), "orders", avro.Of[order]()).(codec.Opener).OpenReader(ctx); err == nil {
		t.Fatal("opened with a registry that is away")
	}
}

func TestRefusedSchemaIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer(http.StatusConflict)
	err := registry.Value(w.client(), "orders", avro.Of[order]()).(codec.Opener).OpenWriter(t.Context())
	if err == nil || errors.Is(err, codec.ErrUnavailable) || !strings.Contains(err.Error(), "compatibility level") {
		t.Fatalf("found %v", err)
	}
	if got := w.asked(); len(got) != 1 {
		t.Fatalf("asked %q", got)
	}
}

func TestLookUpOnlyRegistersNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := registry.Value(w.client().LookUpOnly(), "orders", avro.Of[order]())
	err := c.(codec.Opener).OpenWriter(t.Context())
	if err == nil || !strings.Contains(err.Error(), "leave out LookUpOnly") || w.SubjectExists("orders-value") {
		t.Fatalf("found %v", err)
	}
	open(t, registry.Value(w.client(), "orders", avro.Of[order]()))
	open(t, c)
	travel(t, c, c, order{Customer: "ann"})
}

type address struct {
	City string `avro:"city"`
}

type customer struct {
	Home address `avro:"home"`
}

// referring is a format whose schema refers to another one.
type referring struct{ avro.Codec[customer] }

func (referring) Schema() (codec.Schema, error) {
	return codec.Schema{
		Kind: codec.AvroSchema, Text: `{"type":"record","name":"customer","fields":[{"name":"home","type":"address"}]}`,
		References: []codec.SchemaReference{{Name: "address", Schema: codec.Schema{
			Kind: codec.AvroSchema, Text: `{"type":"record","name":"address","fields":[{"name":"city","type":"string"}]}`,
		}}},
	}, nil
}

func TestReferredSchemasAreRegisteredAndFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	writer := open(t, registry.Value(w.client(), "customers", referring{avro.Of[customer]()}))
	if !w.SubjectExists("address") {
		t.Fatal("the referred schema was not registered")
	}
	want := customer{Home: address{City: "Oslo"}}
	got, _ := travel(t, writer, registry.Value(w.client(), "customers", avro.Of[customer]()), want)
	if got != want {
		t.Fatalf("read %+v", got)
	}
	open(t, registry.Value(w.client().LookUpOnly(), "customers", referring{avro.Of[customer]()}))
}

func TestForeignBytesAreErrorsOfTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := open(t, registry.Value(w.client(), "orders", avro.Of[order]()))
	for _, b := range [][]byte{nil, {}, {0, 0, 0, 1}, {1, 0, 0, 0, 1, 0}, []byte("plain text")} {
		if _, err := c.Decode(b); err == nil || errors.Is(err, codec.ErrUnavailable) {
			t.Errorf("% x: %v", b, err)
		}
	}
	if codec.Err(registry.Value(w.client(), "t", registry.JSON[order]("{"))) == nil {
		t.Error("a JSON schema that is no JSON is valid")
	}
	if c.ID() != "registry:orders-value" || codec.Own(c).ID() != avro.Of[order]().ID() {
		t.Errorf("ids %q and %q", c.ID(), codec.Own(c).ID())
	}
}
