// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
)

func init() {
	open.Register("azblob", open.Driver{
		Parameters: []string{"account", "endpoint"},
		Open: func(_ context.Context, u *url.URL) (objstore.Store, error) {
			if u.Host == "" {
				return nil, fmt.Errorf("%w: a container is azblob://container/prefix?account=name", open.ErrURL)
			}
			query := u.Query()
			return New(Config{Container: u.Host, Prefix: u.Path, Account: query.Get("account"), Endpoint: query.Get("endpoint")})
		},
	})
}

// Config says where the objects are. Credentials left empty are taken from the environment: AZURE_STORAGE_KEY or
// AZURE_STORAGE_SAS_TOKEN, else Microsoft's default chain with the AZURE_ variables, the workload's and the
// machine's identity.
type Config struct {
	Container string
	Prefix    string // of all names; empty or a path
	Account   string // empty means AZURE_STORAGE_ACCOUNT
	Endpoint  string // "https://host/…" or "http://host:port/…"; empty means Azure's for the account

	AccountKey, SASToken string

	// PartBytes is the size above which an object is sent in blocks, and the size of these. Default 128 MiB.
	// Azure takes up to 50 000 blocks.
	PartBytes int64

	// Client replaces the HTTP client, for tests and special networks; nil is the default.
	Client *http.Client
}

// String leaves out the credentials.
func (c Config) String() string {
	return fmt.Sprintf("azblob://%s/%s (account %q, endpoint %q)", c.Container, c.Prefix, c.Account, c.Endpoint)
}

// GoString leaves out the credentials.
func (c Config) GoString() string { return c.String() }

// Store is a container, or a part of one.
type Store struct {
	client    *container.Client
	container string
	prefix    string // empty or ending with '/'
	part      int64
}

var _ objstore.Store = (*Store)(nil)

// New prepares a store. It sends nothing.
func New(c Config) (*Store, error) {
	if c.Container == "" {
		return nil, errors.New("open azure store: no container is given")
	}
	prefix, err := objstore.FolderPrefix(c.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open azure store: %w", err)
	}
	client, err := c.withEnvironment().connect()
	if err != nil {
		return nil, fmt.Errorf("open azure store: %w", err)
	}
	part := c.PartBytes
	if part <= 0 {
		part = defaultPartBytes
	}
	return &Store{client: client, container: c.Container, prefix: prefix, part: part}, nil
}

func (c Config) withEnvironment() Config {
	if c.Account == "" {
		c.Account = os.Getenv("AZURE_STORAGE_ACCOUNT")
	}
	if c.AccountKey == "" && c.SASToken == "" {
		c.AccountKey, c.SASToken = os.Getenv("AZURE_STORAGE_KEY"), os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	}
	return c
}

func (c Config) connect() (*container.Client, error) {
	address, secure, err := c.address()
	if err != nil {
		return nil, err
	}
	options := &container.ClientOptions{}
	options.Retry = policy.RetryOptions{MaxRetries: -1}
	if c.Client != nil {
		options.Transport = c.Client
	}
	switch {
	case c.AccountKey != "":
		if c.Account == "" {
			return nil, errors.New("there is an account key and no account: set the parameter account, or AZURE_STORAGE_ACCOUNT")
		}
		key, err := container.NewSharedKeyCredential(c.Account, c.AccountKey)
		if err != nil {
			return nil, errors.New("the account key is not base64") // the cause may quote it
		}
		return container.NewClientWithSharedKeyCredential(address, key, options)
	case c.SASToken != "":
		if !secure {
			return nil, errors.New("a SAS token is sent over TLS only: use an endpoint that begins with https://")
		}
		return container.NewClientWithNoCredential(address+"?"+strings.TrimPrefix(c.SASToken, "?"), options)
	case !secure:
		return container.NewClientWithNoCredential(address, options)
	}
	identity, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("%w; set AZURE_STORAGE_KEY, or give the workload an identity", err)
	}
	return container.NewClient(address, identity, options)
}

// address is the URL of the container.
func (c Config) address() (address string, secure bool, err error) {
	endpoint := c.Endpoint
	if endpoint == "" {
		if c.Account == "" {
			return "", false, errors.New("no account is given: set the parameter account, or AZURE_STORAGE_ACCOUNT")
		}
		endpoint = "https://" + c.Account + ".blob.core.windows.net"
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", false, fmt.Errorf("endpoint %.80q is not of the form https://host or http://host:port/account", endpoint)
	}
	return strings.TrimSuffix(u.String(), "/") + "/" + url.PathEscape(c.Container), u.Scheme == "https", nil
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store. A server that answers with another part than it was asked for is an
// error.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(objstore.CheckName(name), objstore.CheckRange(offset, length)); err != nil {
		return nil, fmt.Errorf("get object: %w", err)
	}
	wanted := blob.HTTPRange{Offset: offset, Count: max(length, blob.CountToEnd)}
	response, err := s.client.NewBlobClient(s.prefix+name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: wanted})
	if err != nil {
		return nil, s.fail(ctx, "get", name, err)
	}
	if offset > 0 || length > 0 {
		if err := s.checkPart(name, offset, response); err != nil {
			return nil, errors.Join(err, response.Body.Close())
		}
	}
	return objstore.ReadTransient(ctx, name, response.Body), nil
}

// checkPart compares an answer with the part that was asked for.
func (s *Store) checkPart(name string, offset int64, response blob.DownloadStreamResponse) error {
	got := ""
	if response.ContentRange != nil {
		got = *response.ContentRange
	}
	if err := objstore.CheckContentRange(got, offset); err != nil {
		return fmt.Errorf("get object %s in container %s: %w", name, s.container, err)
	}
	if response.ContentLength != nil && *response.ContentLength == 0 {
		// Emulators answer so where Azure refuses.
		return fmt.Errorf("get object %s in container %s: nothing from byte %d on: %w", name, s.container, offset, objstore.ErrRange)
	}
	return nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	_, err := s.client.NewBlobClient(s.prefix+name).Delete(ctx, nil)
	if err = s.fail(ctx, "delete", name, err); errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := objstore.CheckName(name); err != nil {
		return objstore.Info{}, fmt.Errorf("stat object: %w", err)
	}
	properties, err := s.client.NewBlobClient(s.prefix+name).GetProperties(ctx, nil)
	if err != nil {
		return objstore.Info{}, s.fail(ctx, "stat", name, err)
	}
	if properties.ContentLength == nil || properties.LastModified == nil {
		return objstore.Info{}, fmt.Errorf("stat object %s in container %s: the server tells no size or time", name, s.container)
	}
	return objstore.Info{Name: name, Size: *properties.ContentLength, Modified: *properties.LastModified}, nil
}

// List implements objstore.Store, a page of up to 5000 names at a time.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects: %w", err))
			return
		}
		full, last := s.prefix+prefix, ""
		pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &full})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(objstore.Info{}, s.fail(ctx, "list", prefix, err))
				return
			}
			for _, item := range page.Segment.BlobItems {
				info, err := s.info(item)
				if err == nil && info.Name == "" {
					continue // put there by others
				}
				if err == nil && info.Name <= last {
					err = fmt.Errorf("list objects %s in container %s: %s comes after %s: use a storage account without hierarchical namespace",
						prefix, s.container, info.Name, last)
				}
				last = info.Name
				if !yield(info, err) || err != nil {
					return
				}
			}
		}
	}
}

// info describes a listed object. One that is none of ours has no name.
func (s *Store) info(item *container.BlobItem) (objstore.Info, error) {
	if item.Name == nil {
		return objstore.Info{}, nil
	}
	name, ok := strings.CutPrefix(*item.Name, s.prefix)
	if !ok || objstore.CheckName(name) != nil {
		return objstore.Info{}, nil
	}
	if item.Properties == nil || item.Properties.ContentLength == nil || item.Properties.LastModified == nil {
		return objstore.Info{}, fmt.Errorf("list object %s in container %s: the server tells no size or time", name, s.container)
	}
	return objstore.Info{Name: name, Size: *item.Properties.ContentLength, Modified: *item.Properties.LastModified}, nil
}
