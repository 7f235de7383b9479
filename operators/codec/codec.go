// SPDX-License-Identifier: Apache-2.0

package codec

// Codec turns values of T into bytes and back. Implementations must hold the invariants of the package
// and be safe for concurrent use.
type Codec[T any] interface {
	// ID is the stable identity of the encoding, such as "string" or "json:Order". Two codecs with one
	// ID must read each other's bytes.
	ID() string
	// Append appends the encoding of v to dst and returns the grown slice.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads a value from all of src. It must not retain src.
	Decode(src []byte) (T, error)
}

// New makes a codec of two functions, which must hold the invariants of the package. The id names the
// encoding; change it when the bytes change.
func New[T any](id string, appendTo func(dst []byte, v T) ([]byte, error), decode func(src []byte) (T, error)) Codec[T] {
	return custom[T]{id: id, appendTo: appendTo, decode: decode}
}

type custom[T any] struct {
	id       string
	appendTo func([]byte, T) ([]byte, error)
	decode   func([]byte) (T, error)
}

func (c custom[T]) ID() string                             { return c.id }
func (c custom[T]) Append(dst []byte, v T) ([]byte, error) { return c.appendTo(dst, v) }
func (c custom[T]) Decode(src []byte) (T, error)           { return c.decode(src) }

// Convert makes a codec of T from that of a type that T can be turned into and back, as for a named string or a
// struct that is a composite key (see PairOf). The bytes and so the id are those of c. from may refuse what no T
// stands for.
func Convert[T, U any](c Codec[U], to func(T) U, from func(U) (T, error)) Codec[T] {
	return converted[T, U]{codec: c, to: to, from: from}
}

type converted[T, U any] struct {
	codec Codec[U]
	to    func(T) U
	from  func(U) (T, error)
}

func (c converted[T, U]) ID() string                             { return c.codec.ID() }
func (c converted[T, U]) Err() error                             { return Err(c.codec) }
func (c converted[T, U]) Append(dst []byte, v T) ([]byte, error) { return c.codec.Append(dst, c.to(v)) }
func (c converted[T, U]) width() int                             { return Width(c.codec) }

func (c converted[T, U]) Decode(src []byte) (T, error) {
	u, err := c.codec.Decode(src)
	if err != nil {
		var zero T
		return zero, err
	}
	return c.from(u)
}

// Invalid is a codec that could not be made, because of err. Build reports it with the step that uses it, so that
// functions which make codecs need no error of their own.
func Invalid[T any](id string, err error) Codec[T] { return invalid[T]{id: id, err: err} }

type invalid[T any] struct {
	id  string
	err error
}

func (c invalid[T]) ID() string                             { return c.id }
func (c invalid[T]) Err() error                             { return c.err }
func (c invalid[T]) Append(dst []byte, _ T) ([]byte, error) { return dst, c.err }

func (c invalid[T]) Decode([]byte) (T, error) {
	var zero T
	return zero, c.err
}

// Err returns why a codec cannot be used; nil if it can. A codec tells by a method Err() error; one without it can
// be used.
func Err[T any](c Codec[T]) error {
	if made, ok := c.(interface{ Err() error }); ok {
		return made.Err()
	}
	return nil
}
