// SPDX-License-Identifier: Apache-2.0

package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/s3"
)

// ErrURL marks a URL that names no store.
var ErrURL = errors.New("object store URL is not valid")

// Options are what a URL does not say. The zero value means none of it.
type Options struct {
	// EncryptionKeys is the path of a key file, see crypt.LoadKeys, with which all contents are encrypted
	// before they are sent. Empty: they are sent as they are, and encrypted ones are not read.
	EncryptionKeys string
	// Retries bounds the repeating of failed calls.
	Retries objstore.Policy
}

// Open returns the store that a URL names. A URL that names none is ErrURL; a key file that is not right is
// crypt.ErrKeyFile.
func Open(ctx context.Context, rawURL string, options Options) (*objstore.Retry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	store, err := driver(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	if options.EncryptionKeys == "" {
		return objstore.NewRetry(crypt.NewGuard(store), options.Retries), nil
	}
	keys, err := crypt.LoadKeys(options.EncryptionKeys)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	return objstore.NewRetry(crypt.New(store, keys), options.Retries), nil
}

func driver(ctx context.Context, rawURL string) (objstore.Store, error) {
	if rawURL == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrURL)
	}
	if !strings.Contains(rawURL, "://") {
		return dir.New(rawURL)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's error quotes the URL, which may hold a password.
		return nil, fmt.Errorf("%w: it cannot be parsed", ErrURL)
	}
	if u.User != nil {
		return nil, fmt.Errorf("%w: credentials do not belong into it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the store's provider uses", ErrURL)
	}
	d, err := find(u.Scheme)
	if err != nil {
		return nil, err
	}
	if err := allowParameters(u, d.Parameters); err != nil {
		return nil, err
	}
	return d.Open(ctx, u)
}

func openDir(_ context.Context, u *url.URL) (objstore.Store, error) {
	if u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return nil, fmt.Errorf("%w: a folder is file:///path, with three slashes", ErrURL)
	}
	return dir.New(u.Path)
}

func openS3(_ context.Context, u *url.URL) (objstore.Store, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("%w: a bucket is s3://bucket/prefix", ErrURL)
	}
	return s3.New(s3.Config{
		Bucket:     u.Host,
		Prefix:     u.Path,
		Endpoint:   u.Query().Get("endpoint"),
		Region:     u.Query().Get("region"),
		Encryption: u.Query().Get("sse"),
		KMSKeyID:   u.Query().Get("kms-key-id"),
	})
}

// memory holds the stores of mem URLs for the life of the process. It is global because such a URL, unlike
// all others, has nothing outside the process that could hold its objects between two calls of Open.
var memory struct {
	sync.Mutex
	stores map[string]*objstore.Mem
}

func openMem(_ context.Context, u *url.URL) (objstore.Store, error) {
	if u.Host == "" || u.Path != "" {
		return nil, fmt.Errorf("%w: memory is mem://name", ErrURL)
	}
	memory.Lock()
	defer memory.Unlock()
	if memory.stores == nil {
		memory.stores = map[string]*objstore.Mem{}
	}
	if memory.stores[u.Host] == nil {
		memory.stores[u.Host] = objstore.NewMem()
	}
	return memory.stores[u.Host], nil
}

func allowParameters(u *url.URL, allowed []string) error {
	if u.Fragment != "" {
		return fmt.Errorf("%w: it has a fragment (#…)", ErrURL)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: its parameters cannot be parsed", ErrURL)
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%w: parameter %q is unknown, known are: %s", ErrURL, name, strings.Join(allowed, ", "))
		}
		if len(values) != 1 {
			return fmt.Errorf("%w: parameter %q is given more than once", ErrURL, name)
		}
	}
	return nil
}
