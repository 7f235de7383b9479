// SPDX-License-Identifier: Apache-2.0

package crypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// The layout of an encrypted object, in bytes. It is a stored format: none of this may change under the same
// magic.
const (
	magic       = "streamd-crypt-1\n"
	idBytes     = 32 // filled up with zeros
	saltBytes   = 32
	prefixBytes = 7  // the rest of a nonce is the segment's number, 4, and whether it is the last, 1
	tagBytes    = 16 // of GCM

	envelopeBytes     = len(magic) + idBytes
	streamHeaderBytes = 1 + saltBytes + prefixBytes
	headerBytes       = envelopeBytes + streamHeaderBytes

	segmentBytes      = 64 << 10 // of the object; the first one begins after the header
	segmentPlainBytes = segmentBytes - tagBytes
	maxSegments       = 1 << 32
	maxPlainBytes     = int64(maxSegments)*segmentPlainBytes - int64(headerBytes)
)

// ErrPlain says that an object is not encrypted.
var ErrPlain = errors.New("object is not encrypted")

// segmentAt says in which segment a byte of the plain content is. The header takes room of the first segment.
func segmentAt(offset int64) int64 { return (offset + int64(headerBytes)) / segmentPlainBytes }

// firstOffset is where a segment begins in its stretch of 64 KiB.
func firstOffset(segment int64) int64 {
	if segment == 0 {
		return int64(headerBytes)
	}
	return 0
}

// plainStart is the offset of a segment's first byte in the plain content.
func plainStart(segment int64) int64 {
	return segment*segmentPlainBytes - int64(headerBytes) + firstOffset(segment)
}

// segments is how many segments a plain content of that size has. An empty one has one.
func segments(plain int64) int64 {
	if plain == 0 {
		return 1
	}
	return segmentAt(plain-1) + 1
}

// sealedSize is the size of the object for a plain content of that size.
func sealedSize(plain int64) int64 {
	return int64(headerBytes) + plain + segments(plain)*tagBytes
}

// plainSize is the size of the content of an object of that size; 0 where it is too small to be encrypted.
func plainSize(sealed int64) int64 {
	n := (sealed + segmentBytes - 1) / segmentBytes
	return max(0, sealed-int64(headerBytes)-n*tagBytes)
}

// box seals and opens the segments of one object. Safe for concurrent use.
type box struct {
	aead   cipher.AEAD
	prefix [prefixBytes]byte
}

// newBox makes the box for a new object, and the object's header.
func newBox(name, id string, key []byte) (box, []byte, error) {
	header := make([]byte, headerBytes)
	copy(header, magic)
	copy(header[len(magic):], id)
	header[envelopeBytes] = streamHeaderBytes
	_, _ = rand.Read(header[envelopeBytes+1:]) // it never fails
	b, err := openBox(name, header, key)
	return b, header, err
}

// keyID reads from an object's header which key it needs.
func keyID(header []byte) (string, error) {
	if !bytes.HasPrefix(header, []byte(magic)[:min(len(header), len(magic))]) {
		return "", fmt.Errorf("%w: it was written without encryption keys, or by something else", ErrPlain)
	}
	if len(header) < headerBytes {
		return "", damaged("its header is not whole")
	}
	id := string(bytes.TrimRight(header[len(magic):envelopeBytes], "\x00"))
	if !idForm.MatchString(id) {
		return "", damaged("its header is not whole")
	}
	return id, nil
}

// openBox makes the box of an object from its header.
func openBox(name string, header, key []byte) (box, error) {
	if header[envelopeBytes] != streamHeaderBytes {
		return box{}, damaged("its header is not whole")
	}
	salt := header[envelopeBytes+1:][:saltBytes]
	// The envelope has a fixed length, so no two pairs of envelope and name read the same.
	own, err := hkdf.Key(sha256.New, key, salt, string(header[:envelopeBytes])+name, keyBytes)
	if err != nil {
		return box{}, fmt.Errorf("derive the key of the object: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return box{}, fmt.Errorf("prepare the key of the object: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return box{}, fmt.Errorf("prepare the key of the object: %w", err)
	}
	return box{aead: aead, prefix: [prefixBytes]byte(header[envelopeBytes+1+saltBytes : headerBytes])}, nil
}

func (b *box) nonce(segment int64, last bool) []byte {
	nonce := make([]byte, 0, prefixBytes+5)
	nonce = append(nonce, b.prefix[:]...)
	nonce = binary.BigEndian.AppendUint32(nonce, uint32(segment))
	if last {
		return append(nonce, 1)
	}
	return append(nonce, 0)
}

// seal encrypts a segment in place; plain must have room for the tag.
func (b *box) seal(plain []byte, segment int64, last bool) []byte {
	return b.aead.Seal(plain[:0], b.nonce(segment, last), plain, nil)
}

// open verifies and decrypts a segment in place.
func (b *box) open(sealed []byte, segment int64, last bool) ([]byte, error) {
	plain, err := b.aead.Open(sealed[:0], b.nonce(segment, last), sealed, nil)
	if err != nil {
		return nil, damaged(fmt.Sprintf("segment %d is not what was encrypted under this name", segment))
	}
	return plain, nil
}

// damaged is an error for a content that is not the one that was written. It may have been damaged on its
// way, so reading anew may help.
func damaged(what string) error {
	return objstore.Transient(fmt.Errorf("%w: %s", objstore.ErrDamaged, what))
}
