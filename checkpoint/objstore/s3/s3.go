// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	// defaultPartBytes sends all but giant state files in one request, which carries a digest.
	defaultPartBytes = 128 << 20
	// partThreads is how many parts of one object travel at once.
	partThreads = 2
)

// Config says where the objects are. Credentials left empty are taken from the environment: the AWS_
// variables, the shared credentials file, a web identity token, the container, or the instance.
type Config struct {
	Bucket   string
	Prefix   string // of all names; empty or a path
	Endpoint string // "http://host:port" or "https://…"; empty means Amazon's for the region
	Region   string // default us-east-1

	AccessKey, SecretKey, SessionToken string

	// Encryption is how the server is asked to encrypt what is written: "" leaves it to the bucket's own
	// setting, "aes256" means keys of S3, "kms" keys of the provider's key service.
	Encryption string
	// KMSKeyID is the key that "kms" uses; empty means the account's default key for S3.
	KMSKeyID string

	// PartBytes is the size above which an object is sent in parts, and the size of these, equal for
	// all since some stores demand it. Default 128 MiB, least 5 MiB. S3 takes up to 10 000 parts.
	PartBytes int64

	// Transport replaces the HTTP transport, for tests and special networks; nil is the default.
	Transport http.RoundTripper
}

// String leaves out the credentials.
func (c Config) String() string {
	return fmt.Sprintf("s3://%s/%s (endpoint %q, region %q)", c.Bucket, c.Prefix, c.Endpoint, c.Region)
}

// GoString leaves out the credentials.
func (c Config) GoString() string { return c.String() }

// Store is a bucket, or a part of one.
type Store struct {
	client *minio.Client
	core   minio.Core
	creds  *credentials.Credentials
	bucket string
	prefix string // empty or ending with '/'
	part   int64
	sse    encrypt.ServerSide // nil: the bucket's setting
}

var _ objstore.Store = (*Store)(nil)

// New prepares a store. It sends nothing.
func New(c Config) (*Store, error) {
	if c.Bucket == "" {
		return nil, errors.New("open s3 store: no bucket is given")
	}
	prefix := strings.Trim(c.Prefix, "/")
	if prefix != "" {
		if err := objstore.CheckName(prefix); err != nil {
			return nil, fmt.Errorf("open s3 store: prefix: %w", err)
		}
		prefix += "/"
	}
	host, secure, err := splitEndpoint(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	region := c.Region
	if region == "" {
		region = "us-east-1"
	}
	lookup := minio.BucketLookupAuto
	if c.Endpoint != "" {
		lookup = minio.BucketLookupPath
	}
	sse, err := c.serverSide()
	if err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	creds := c.credentials()
	client, err := minio.New(host, &minio.Options{
		Creds:        creds,
		Secure:       secure,
		Transport:    c.Transport,
		Region:       region,
		BucketLookup: lookup,
		MaxRetries:   1,
	})
	if err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	part := c.PartBytes
	if part <= 0 {
		part = defaultPartBytes
	}
	return &Store{
		client: client, core: minio.Core{Client: client}, creds: creds,
		bucket: c.Bucket, prefix: prefix, part: part, sse: sse,
	}, nil
}

func (c Config) serverSide() (encrypt.ServerSide, error) {
	if c.KMSKeyID != "" && c.Encryption != "kms" {
		return nil, errors.New("a key id of the key service is given: set the encryption to kms, or leave the id out")
	}
	switch c.Encryption {
	case "":
		return nil, nil
	case "aes256":
		return encrypt.NewSSE(), nil
	case "kms":
		return encrypt.NewSSEKMS(c.KMSKeyID, nil)
	}
	return nil, fmt.Errorf("encryption %.20q is neither aes256 nor kms", c.Encryption)
}

func splitEndpoint(endpoint string) (host string, secure bool, err error) {
	if endpoint == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return "", false, fmt.Errorf("endpoint %.80q is not of the form http://host:port or https://host:port", endpoint)
	}
	return u.Host, u.Scheme == "https", nil
}

func (c Config) credentials() *credentials.Credentials {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken)
	}
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	// The instance's metadata address answers nowhere but on AWS, and asking it elsewhere takes long.
	identified := slices.ContainsFunc([]string{
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	}, func(variable string) bool { return os.Getenv(variable) != "" })
	if c.Endpoint == "" || identified {
		providers = append(providers, &credentials.IAM{})
	}
	return credentials.NewChainCredentials(providers)
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store. A server that answers with another part than it was asked for is an
// error, since a resumed content would be patched together wrongly.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(objstore.CheckName(name), objstore.CheckRange(offset, length)); err != nil {
		return nil, fmt.Errorf("get object: %w", err)
	}
	options := minio.GetObjectOptions{}
	partial := offset > 0 || length > 0
	switch {
	case length > 0:
		options.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case partial:
		options.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	c := s.begin(ctx, "get", name)
	body, _, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, options)
	if err != nil {
		return nil, c.fail(err)
	}
	if got := header.Get("Content-Range"); partial && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", offset)) {
		err := fmt.Errorf("get object %s in bucket %s: asked from byte %d on, the server gave Content-Range %.80q: use a store that supports ranges",
			name, s.bucket, offset, got)
		return nil, errors.Join(err, body.Close())
	}
	return &reader{ReadCloser: body, ctx: ctx, name: name}, nil
}

// reader marks what breaks while reading: the connection, which a new one may heal.
type reader struct {
	io.ReadCloser
	ctx  context.Context
	name string
}

// Read implements io.Reader. net/http reports content that is shorter than announced.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF && r.ctx.Err() == nil {
		err = objstore.Transient(fmt.Errorf("read object %s: %w", r.name, err))
	}
	return n, err
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	// With a digest minio-go would hold each part in memory.
	single := body.Size() <= s.part
	options := minio.PutObjectOptions{SendContentMd5: single, PartSize: uint64(s.part), NumThreads: partThreads}
	return s.put(ctx, "put", name, body, options)
}

// Create implements objstore.Store.
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	options := minio.PutObjectOptions{SendContentMd5: true, DisableMultipart: true}
	options.SetMatchETagExcept("*")
	return s.put(ctx, "create", name, body, options)
}

func (s *Store) put(ctx context.Context, verb, name string, body objstore.Body, options minio.PutObjectOptions) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("%s object: %w", verb, err)
	}
	options.ServerSideEncryption = s.sse
	section := io.NewSectionReader(body, 0, body.Size())
	c := s.begin(ctx, verb, name)
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+name, section, body.Size(), options)
	return c.fail(err)
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	c := s.begin(ctx, "delete", name)
	err := s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
	if err = c.fail(err); errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := objstore.CheckName(name); err != nil {
		return objstore.Info{}, fmt.Errorf("stat object: %w", err)
	}
	c := s.begin(ctx, "stat", name)
	info, err := s.client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return objstore.Info{}, c.fail(err)
	}
	return objstore.Info{Name: name, Size: info.Size, Modified: info.LastModified}, nil
}

// List implements objstore.Store, a page of up to 1000 names at a time.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects: %w", err))
			return
		}
		c := s.begin(ctx, "list", prefix)
		options := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}
		for object := range s.client.ListObjectsIter(ctx, s.bucket, options) {
			if object.Err != nil {
				yield(objstore.Info{}, c.fail(object.Err))
				return
			}
			name, ok := strings.CutPrefix(object.Key, s.prefix)
			if !ok || objstore.CheckName(name) != nil {
				continue // put there by others
			}
			if !yield(objstore.Info{Name: name, Size: object.Size, Modified: object.LastModified}, nil) {
				return
			}
		}
		// A cancelled listing must not look like a short one.
		if err := ctx.Err(); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects %s: %w", prefix, err))
		}
	}
}
