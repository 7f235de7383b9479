// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	// amazon is where requests go that are meant for no other endpoint.
	amazon = "https://s3.amazonaws.com"
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
	prefix, err := objstore.FolderPrefix(c.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	endpoint, err := objstore.ParseEndpoint(cmp.Or(c.Endpoint, amazon))
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
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:        creds,
		Secure:       endpoint.Scheme == "https",
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
// error.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(objstore.CheckName(name), objstore.CheckRange(offset, length)); err != nil {
		return nil, fmt.Errorf("get object: %w", err)
	}
	options := minio.GetObjectOptions{}
	part := objstore.ByteRange(offset, length)
	if part != "" {
		options.Set("Range", part)
	}
	c := s.begin(ctx, "get", name)
	body, _, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, options)
	if err != nil {
		return nil, c.fail(err)
	}
	if part != "" {
		if err := objstore.CheckContentRange(header.Get("Content-Range"), offset); err != nil {
			return nil, errors.Join(fmt.Errorf("get object %s in bucket %s: %w", name, s.bucket, err), body.Close())
		}
	}
	return objstore.ReadTransient(ctx, name, body), nil
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
