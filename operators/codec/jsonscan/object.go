// SPDX-License-Identifier: Apache-2.0

package jsonscan

import (
	"encoding/binary"
	"encoding/json/jsontext"
	"errors"
	"fmt"
)

// Object is a walk over the members of one JSON object. After an error Next returns false and the methods that read
// values return zeros, so that a decoder only has to look at Err once, in the end.
type Object struct {
	src     []byte
	pos     int
	at      place
	checked bool   // all of src is known to be valid, and to have no duplicate names
	name    []byte // of the current member
	err     error
	seen    int // members, as long as tags holds them all
	tags    [maxTags]uint64
}

// place says where in the object pos is.
type place uint8

const (
	beforeObject place = iota
	beforeValue        // behind the colon
	afterValue
	afterObject
)

// maxTags is how many members are checked for duplicate names here; objects with more are checked by jsontext.
const maxTags = 16

// Scan begins a walk over src, which must not change until it has ended.
func Scan(src []byte) Object { return Object{src: src} }

// Err returns the first error of the walk. It is meaningful after Next has returned false.
func (o *Object) Err() error { return o.err }

// Name is the name of the member that Next has moved to, without escapes. It is valid until the next call of Next and
// must not be changed.
func (o *Object) Name() []byte { return o.name }

// Next moves to the next member and tells whether there is one. A value that was not read is jumped over.
func (o *Object) Next() bool {
	if o.at == beforeValue {
		o.Skip()
	}
	if o.err != nil || o.at == afterObject {
		return false
	}
	c := o.peek()
	switch {
	case o.at == beforeObject:
		if c != '{' {
			o.notAnObject(c)
			return false
		}
		o.pos++
		if c = o.peek(); c == '}' {
			o.end()
			return false
		}
	case c == '}':
		o.end()
		return false
	case c == ',':
		o.pos++
		c = o.peek()
	default:
		o.syntax()
		return false
	}
	return c == '"' && o.member() || o.syntax()
}

// member reads the name that begins at pos, and the colon.
func (o *Object) member() bool {
	start := o.pos
	raw, escaped := o.text()
	if escaped {
		raw = o.unescape(nil, start)
	}
	if o.err != nil {
		return false
	}
	o.name = raw
	if !o.checked && !o.firstOfItsName() {
		o.check()
	}
	if o.err != nil || o.peek() != ':' {
		return o.syntax()
	}
	o.pos++
	o.at = beforeValue
	return true
}

// firstOfItsName notes the current name. It is false if the name may have been there before.
func (o *Object) firstOfItsName() bool {
	if o.seen == maxTags {
		return false
	}
	tag := tagOf(o.name)
	for _, other := range o.tags[:o.seen] {
		if other == tag {
			return false
		}
	}
	o.tags[o.seen] = tag
	o.seen++
	return true
}

// tagOf is equal for equal names, and rarely for others: most names differ in length or in their first or last bytes.
func tagOf(name []byte) uint64 {
	n := len(name)
	tag := uint64(n) << 56
	switch {
	case n >= 8:
		return tag ^ binary.LittleEndian.Uint64(name) ^ binary.LittleEndian.Uint64(name[n-8:])*0x9e3779b97f4a7c15
	case n >= 4:
		return tag ^ uint64(binary.LittleEndian.Uint32(name)) ^ uint64(binary.LittleEndian.Uint32(name[n-4:]))<<24
	}
	for i, c := range name {
		tag ^= uint64(c) << (8 * i)
	}
	return tag
}

// check lets jsontext judge the whole of the input.
func (o *Object) check() {
	if o.checked || o.err != nil {
		return
	}
	o.checked = true
	d := jsontext.NewDecoder(&memory{o.src})
	if _, err := d.ReadValue(); err != nil {
		e, ok := errors.AsType[*jsontext.SyntacticError](err)
		switch {
		case ok && errors.Is(e, jsontext.ErrDuplicateName):
			o.fail(int(e.ByteOffset), "duplicate member name")
		case ok:
			o.fail(int(e.ByteOffset), "syntax error")
		default: // the input ended too early
			o.fail(len(o.src), "syntax error")
		}
	}
}

// notAnObject handles an input that begins with something else.
func (o *Object) notAnObject(c byte) {
	switch {
	case c == 'n' && o.word("null"):
		o.pos-- // to its last byte
		o.end()
	case c == 'n':
		o.syntax()
	default:
		o.mismatch("an object")
	}
}

// end is at the object's last byte: nothing but white space may follow.
func (o *Object) end() {
	o.pos++
	o.at = afterObject
	o.peek()
	if o.pos < len(o.src) {
		o.syntax()
	}
}

// peek jumps over white space and returns the byte behind it; 0 at the end of the input, where a 0 would be a
// syntax error, too.
func (o *Object) peek() byte {
	if o.pos < len(o.src) && o.src[o.pos] > ' ' {
		return o.src[o.pos]
	}
	return o.peekBehindSpace()
}

func (o *Object) peekBehindSpace() byte {
	for ; o.pos < len(o.src); o.pos++ {
		switch c := o.src[o.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (o *Object) fail(at int, what string) {
	if o.err == nil {
		o.err = fmt.Errorf("json at byte %d: %s", at, what)
	}
}

// syntax reports that what is at pos does not belong there. It returns false, for callers that tell success.
func (o *Object) syntax() bool {
	o.fail(o.pos, "syntax error")
	return false
}
