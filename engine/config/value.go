// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of values. Each implements pflag.Value: Set parses what a user wrote, String gives it back in the
// same form, Type names the kind in help and in the reference.

type textValue string

func (v *textValue) Set(s string) error { *v = textValue(s); return nil }
func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Type() string       { return "text" }

type listValue []string

func (v *listValue) Set(s string) error {
	*v = nil
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			*v = append(*v, e)
		}
	}
	return nil
}
func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) Type() string   { return "list" }

type boolValue bool

func (v *boolValue) Set(s string) error {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		*v = true
	case "false", "no", "off", "0":
		*v = false
	default:
		return fmt.Errorf("%q is neither true nor false", s)
	}
	return nil
}
func (v *boolValue) String() string   { return strconv.FormatBool(bool(*v)) }
func (v *boolValue) Type() string     { return "bool" }
func (v *boolValue) IsBoolFlag() bool { return true }

type intValue int

func (v *intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", s)
	}
	*v = intValue(n)
	return nil
}
func (v *intValue) String() string { return strconv.Itoa(int(*v)) }
func (v *intValue) Type() string   { return "int" }

type durationValue time.Duration

func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		if _, isNumber := strconv.ParseFloat(s, 64); isNumber == nil {
			return fmt.Errorf("%q has no unit: write %sms or %ss", s, s, s)
		}
		return fmt.Errorf("%q is not a duration: write for example 100ms, 30s or 5m", s)
	}
	*v = durationValue(d)
	return nil
}
func (v *durationValue) String() string { return time.Duration(*v).String() }
func (v *durationValue) Type() string   { return "duration" }

type wordValue struct {
	to    *string
	words []string
}

func (v *wordValue) Set(s string) error {
	if !slices.Contains(v.words, s) {
		return fmt.Errorf("%q is not one of %s%s", s, strings.Join(v.words, ", "), didYouMean(s, v.words))
	}
	*v.to = s
	return nil
}
func (v *wordValue) String() string { return *v.to }
func (v *wordValue) Type() string   { return strings.Join(v.words, "|") }

type sizeValue int64

func (v *sizeValue) Set(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	*v = sizeValue(n)
	return nil
}
func (v *sizeValue) String() string { return FormatSize(int64(*v)) }
func (v *sizeValue) Type() string   { return "size" }

// sizeUnits in the order in which FormatSize tries them.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

var errSize = errors.New("write a number of bytes with a unit, for example 512MiB, 2GiB or 64KiB")

// ParseSize reads a size in bytes: "512MiB" and "1.5GiB" (powers of 1024), "1MB" (powers of 1000), or a plain
// number of bytes. Units are not case-sensitive.
func ParseSize(s string) (int64, error) {
	s = strings.TrimSpace(s)
	end := len(s)
	for end > 0 && !strings.ContainsRune("0123456789.", rune(s[end-1])) {
		end--
	}
	unit, factor := strings.TrimSpace(s[end:]), int64(1)
	if unit != "" {
		factor = 0
		for _, u := range sizeUnits {
			if strings.EqualFold(u.suffix, unit) {
				factor = u.bytes
			}
		}
		if factor == 0 {
			return 0, fmt.Errorf("size %q: unit %q is not known: %w", s, unit, errSize)
		}
	}
	if strings.Trim(s[:end], "0123456789.") != "" { // ParseFloat would take signs, exponents and NaN
		return 0, fmt.Errorf("size %q: %w", s, errSize)
	}
	if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil {
		if n > math.MaxInt64/factor {
			return 0, fmt.Errorf("size %q is too large", s)
		}
		return n * factor, nil
	}
	f, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, errSize)
	}
	if f *= float64(factor); f >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return int64(f), nil
}

// FormatSize writes a size so that ParseSize gives exactly the same number back: "512MiB", "1MB", "1000012B".
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
