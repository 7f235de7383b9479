// SPDX-License-Identifier: Apache-2.0

package open

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Driver opens the stores whose URLs have its scheme.
type Driver struct {
	// Parameters are the names that the query of such a URL may have, each at most once.
	Parameters []string
	// Open prepares the store of a URL, of which scheme and parameters have been checked and which holds
	// no credentials. It is called by many goroutines and does not reach for the store. What is wrong with
	// the URL is ErrURL.
	Open func(ctx context.Context, u *url.URL) (objstore.Store, error)
}

// elsewhere says which package must be imported for a scheme. These drivers bring large libraries, so only
// programs that use them link them.
var elsewhere = map[string]string{
	"gs":     "github.com/streamd/streamd/checkpoint/objstore/gcs",
	"azblob": "github.com/streamd/streamd/checkpoint/objstore/azure",
}

// drivers is global because it is filled by the init functions of the packages that a program imports.
var drivers = struct {
	sync.Mutex
	byScheme map[string]Driver
}{byScheme: map[string]Driver{
	"file": {Open: openDir},
	"s3":   {Parameters: []string{"endpoint", "region", "sse", "kms-key-id"}, Open: openS3},
	"mem":  {Open: openMem},
}}

// Register makes a scheme known to Open. Packages of drivers call it when they are imported; a scheme that is
// known already panics.
func Register(scheme string, d Driver) {
	drivers.Lock()
	defer drivers.Unlock()
	if _, known := drivers.byScheme[scheme]; known {
		panic("open: the scheme " + scheme + " of object stores is registered twice")
	}
	drivers.byScheme[scheme] = d
}

func find(scheme string) (Driver, error) {
	drivers.Lock()
	defer drivers.Unlock()
	if d, known := drivers.byScheme[scheme]; known {
		return d, nil
	}
	if pack := elsewhere[scheme]; pack != "" {
		return Driver{}, fmt.Errorf("%w: this program has no driver for scheme %q: add import _ %q to its main package", ErrURL, scheme, pack)
	}
	known := append(slices.Collect(maps.Keys(drivers.byScheme)), slices.Collect(maps.Keys(elsewhere))...)
	slices.Sort(known)
	return Driver{}, fmt.Errorf("%w: scheme %.20q is none of %s", ErrURL, scheme, strings.Join(slices.Compact(known), ", "))
}
