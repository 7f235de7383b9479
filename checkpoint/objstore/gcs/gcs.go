// SPDX-License-Identifier: Apache-2.0

package gcs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	storage "google.golang.org/api/storage/v1"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
)

func init() {
	open.Register("gs", open.Driver{
		Parameters: []string{"endpoint"},
		Open: func(ctx context.Context, u *url.URL) (objstore.Store, error) {
			if u.Host == "" {
				return nil, fmt.Errorf("%w: a bucket is gs://bucket/prefix", open.ErrURL)
			}
			return New(ctx, Config{Bucket: u.Host, Prefix: u.Path, Endpoint: u.Query().Get("endpoint")})
		},
	})
}

// Config says where the objects are. Credentials are Google's application default credentials: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, the user's own, or those of the workload.
type Config struct {
	Bucket   string
	Prefix   string // of all names; empty or a path
	Endpoint string // "https://host" or, without credentials, "http://host:port"; empty means Google's

	// Client replaces the HTTP client, and with it the credentials; nil is the default.
	Client *http.Client
}

// Store is a bucket, or a part of one.
type Store struct {
	objects *storage.ObjectsService
	bucket  string
	prefix  string // empty or ending with '/'
}

var _ objstore.Store = (*Store)(nil)

// New prepares a store. It looks for credentials and sends nothing to the bucket.
func New(ctx context.Context, c Config) (*Store, error) {
	if c.Bucket == "" {
		return nil, errors.New("open gcs store: no bucket is given")
	}
	prefix, err := objstore.FolderPrefix(c.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open gcs store: %w", err)
	}
	options, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("open gcs store: %w", err)
	}
	// Tokens may be fetched with this context long after the call that opens the store has ended.
	service, err := storage.NewService(context.WithoutCancel(ctx), options...)
	if err != nil {
		return nil, fmt.Errorf("open gcs store: %w; set GOOGLE_APPLICATION_CREDENTIALS, or give the workload an identity", err)
	}
	return &Store{objects: service.Objects, bucket: c.Bucket, prefix: prefix}, nil
}

func (c Config) options() ([]option.ClientOption, error) {
	options := []option.ClientOption{option.WithScopes(storage.DevstorageReadWriteScope)}
	if c.Endpoint != "" {
		u, err := objstore.ParseEndpoint(c.Endpoint)
		if err != nil {
			return nil, err
		}
		options = append(options, option.WithEndpoint(u.Scheme+"://"+u.Host+"/storage/v1/"))
		if u.Scheme == "http" {
			options = append(options, option.WithoutAuthentication())
		}
	}
	if c.Client != nil {
		options = append(options, option.WithHTTPClient(c.Client))
	}
	return options, nil
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
	call := s.objects.Get(s.bucket, s.prefix+name).Context(ctx)
	part := objstore.ByteRange(offset, length)
	if part != "" {
		call.Header().Set("Range", part)
	}
	response, err := call.Download()
	if err != nil {
		return nil, s.fail(ctx, "get", name, err)
	}
	if part != "" {
		if err := objstore.CheckContentRange(response.Header.Get("Content-Range"), offset); err != nil {
			return nil, errors.Join(fmt.Errorf("get object %s in bucket %s: %w", name, s.bucket, err), response.Body.Close())
		}
	}
	return objstore.ReadTransient(ctx, name, response.Body), nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	return s.upload(ctx, "put", name, body, func(*storage.ObjectsInsertCall) {})
}

// Create implements objstore.Store.
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	return s.upload(ctx, "create", name, body, func(call *storage.ObjectsInsertCall) { call.IfGenerationMatch(0) })
}

func (s *Store) upload(ctx context.Context, verb, name string, body objstore.Body, condition func(*storage.ObjectsInsertCall)) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("%s object: %w", verb, err)
	}
	sum, err := checksum(ctx, body)
	if err != nil {
		return fmt.Errorf("%s object %s: read its content: %w", verb, name, err)
	}
	section := io.NewSectionReader(body, 0, body.Size())
	call := s.objects.Insert(s.bucket, &storage.Object{Name: s.prefix + name, Crc32c: sum}).Context(ctx).
		Media(section, googleapi.ChunkSize(0), googleapi.ContentType("application/octet-stream"))
	condition(call)
	_, err = call.Do()
	return s.fail(ctx, verb, name, err)
}

// checksum is the CRC-32C of a content, as the API writes it. A content that ends early is an error, since its
// checksum would be right and the object short.
func checksum(ctx context.Context, body objstore.Body) (string, error) {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if err := objstore.CopyBody(ctx, sum, body, 0, body.Size()); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32())), nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	err := s.objects.Delete(s.bucket, s.prefix+name).Context(ctx).Do()
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
	object, err := s.objects.Get(s.bucket, s.prefix+name).Fields("name", "size", "updated").Context(ctx).Do()
	if err != nil {
		return objstore.Info{}, s.fail(ctx, "stat", name, err)
	}
	return s.info(name, object)
}

func (s *Store) info(name string, object *storage.Object) (objstore.Info, error) {
	modified, err := time.Parse(time.RFC3339, object.Updated)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("read the time of object %s in bucket %s: %w", name, s.bucket, err)
	}
	return objstore.Info{Name: name, Size: int64(object.Size), Modified: modified}, nil
}

// List implements objstore.Store, a page of up to 1000 names at a time.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects: %w", err))
			return
		}
		call := s.objects.List(s.bucket).Prefix(s.prefix+prefix).Fields("nextPageToken", "items(name,size,updated)").Context(ctx)
		for {
			page, err := call.Do()
			if err != nil {
				yield(objstore.Info{}, s.fail(ctx, "list", prefix, err))
				return
			}
			for _, object := range page.Items {
				name, ok := strings.CutPrefix(object.Name, s.prefix)
				if !ok || objstore.CheckName(name) != nil {
					continue // put there by others
				}
				if !yield(s.info(name, object)) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			call.PageToken(page.NextPageToken)
		}
	}
}
