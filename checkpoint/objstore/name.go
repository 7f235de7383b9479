// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxNameBytes is the longest name; S3 allows 1024 bytes including the configured prefix.
	MaxNameBytes = 900
	// maxSegmentBytes is what common file systems allow for one name.
	maxSegmentBytes = 255
)

// CheckName says whether name may name an object: relative, segments separated by '/', none empty or
// beginning with a dot (which rules out "." and ".." and leaves a driver names of its own), no backslash
// and no control characters. A name must not also be the folder of another, since a folder store cannot
// hold both. The error wraps ErrName.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrName)
	}
	if len(name) > MaxNameBytes {
		return fmt.Errorf("%w: %.40q has %d bytes, more than %d", ErrName, name, len(name), MaxNameBytes)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("%w: %.80q: %s", ErrName, name, err)
		}
	}
	return nil
}

// CheckPrefix says whether prefix may be listed: empty, or the beginning of an allowed name.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckName(strings.TrimSuffix(prefix, "/"))
}

func checkSegment(segment string) error {
	switch {
	case segment == "":
		return errors.New("a segment is empty")
	case segment[0] == '.':
		return errors.New("a segment begins with a dot")
	case len(segment) > maxSegmentBytes:
		return fmt.Errorf("a segment has more than %d bytes", maxSegmentBytes)
	case !utf8.ValidString(segment):
		return errors.New("it is not UTF-8")
	case strings.ContainsFunc(segment, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return errors.New("it has a backslash or a control character")
	}
	return nil
}
