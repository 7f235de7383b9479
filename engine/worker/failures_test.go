// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/streamd/streamd/engine/api"
)

// The API writes JSON, which takes nothing else.
func TestTheTextOfAFailureIsValidUTF8(t *testing.T) {
	t.Parallel()
	f := newFailures(time.Now)
	for _, text := range []string{"x" + strings.Repeat("ä", maxSampleBytes), "bytes \xff of the user"} {
		f.note(place{step: text[:1]}, api.Sample{}, errors.New(text))
	}
	for _, failure := range f.all() {
		got := failure.Samples[0].Error
		if !utf8.ValidString(got) || len(got) > maxSampleBytes || got == "" {
			t.Errorf("kept is %.20q… of %d bytes", got, len(got))
		}
	}
}
