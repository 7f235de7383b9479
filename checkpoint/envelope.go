// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
)

// This file is pure: the frame that every stored document has. The checksum is over the bytes of the body
// as stored, so that reading needs no second, canonical encoding.

// Kinds of documents. The kind keeps one from being taken for another.
const (
	kindManifest    = "manifest"
	kindApplication = "application"
	kindRound       = "round"
	kindSavepoint   = "savepoint"
	kindCondemned   = "condemned"
	kindClaim       = "claim"
	kindRun         = "run"
	kindArchive     = "archive"
)

// formatVersion is what this version writes and the newest that it reads.
const formatVersion = 1

type envelope struct {
	Format   int            `json:"format"`
	Kind     string         `json:"kind"`
	Checksum string         `json:"checksum"` // hex SHA-256 of Body's bytes
	Body     jsontext.Value `json:"body"`
}

var (
	// Equal bodies give equal bytes, so that a repeated write can be recognised as the own.
	encodeOptions = json.Deterministic(true)
	decodeOptions = json.RejectUnknownMembers(true)
)

// encode frames a body and returns the document and the body's checksum.
func encode(kind string, body any) (document []byte, checksum string, err error) {
	raw, err := json.Marshal(body, encodeOptions)
	if err != nil {
		return nil, "", fmt.Errorf("encode %s: %w", kind, err)
	}
	checksum = checksumOf(raw)
	document, err = json.Marshal(envelope{formatVersion, kind, checksum, raw}, encodeOptions)
	if err != nil {
		return nil, "", fmt.Errorf("encode %s: %w", kind, err)
	}
	return append(document, '\n'), checksum, nil
}

// decode checks the frame of a document and reads its body. The format is looked at first, so that a
// later version's document is ErrFutureFormat whatever else has changed in it.
func decode(kind string, document []byte, body any) (checksum string, err error) {
	var head struct {
		Format int            `json:"format"`
		Rest   jsontext.Value `json:",inline"`
	}
	if err := json.Unmarshal(document, &head); err != nil {
		return "", fmt.Errorf("%w: decode %s: %w", ErrCorrupt, kind, err)
	}
	if head.Format > formatVersion {
		return "", fmt.Errorf("%w: %s has format %d, this version reads up to %d", ErrFutureFormat, kind, head.Format, formatVersion)
	}
	var e envelope
	if err := json.Unmarshal(document, &e, decodeOptions); err != nil {
		return "", fmt.Errorf("%w: decode %s: %w", ErrCorrupt, kind, err)
	}
	switch {
	case e.Format < 1:
		return "", fmt.Errorf("%w: %s has format %d", ErrCorrupt, kind, e.Format)
	case e.Kind != kind:
		return "", fmt.Errorf("%w: found a %.40q document where a %s should be", ErrCorrupt, e.Kind, kind)
	case checksumOf(e.Body) != e.Checksum:
		return "", fmt.Errorf("%w: %s has checksum %.80q, its content has %s", ErrCorrupt, kind, e.Checksum, checksumOf(e.Body))
	}
	if err := json.Unmarshal(e.Body, body, decodeOptions); err != nil {
		return "", fmt.Errorf("%w: decode %s: %w", ErrCorrupt, kind, err)
	}
	if v, ok := body.(validator); ok {
		if err := v.validate(); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrCorrupt, kind, err)
		}
	}
	return e.Checksum, nil
}

// validator is a body that can say what is wrong with it. Whoever can write to a bucket can compute a checksum: that a
// document is whole does not mean that it is right.
type validator interface{ validate() error }

func checksumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
