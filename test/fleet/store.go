// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/streamd/streamd/test/s3/s3server"
)

// Store is the object store of a run: a folder, or a real S3 server on that folder.
type Store struct {
	folder string
	server string // host:port; "" for a folder
}

// OpenStore makes the store in the folder of the run. Its server ends with the scene. Workers inherit the credentials.
func (s *Scene) OpenStore(ctx context.Context, s3 bool) (*Store, error) {
	store := &Store{folder: filepath.Join(s.Dir, "store")}
	if !s3 {
		return store, nil
	}
	endpoint, stop, err := s3server.Launch(ctx, store.folder)
	if err != nil {
		return nil, fmt.Errorf("start an S3 server: %w", err)
	}
	s.stopServer, store.server = stop, strings.TrimPrefix(endpoint, "http://")
	return store, errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", s3server.AccessKey), os.Setenv("AWS_SECRET_ACCESS_KEY", s3server.SecretKey))
}

// Addr is where the server listens; "" for a folder.
func (s *Store) Addr() string { return s.server }

// URL is the setting store.url of who reaches the server directly.
func (s *Store) URL() string { return s.URLThrough(s.server) }

// URLThrough is the setting store.url of who reaches the server at another address, which leads to it.
func (s *Store) URLThrough(addr string) string {
	if s.server == "" {
		return "file://" + s.folder
	}
	return fmt.Sprintf("s3://%s/checkpoints?endpoint=http://%s&region=%s", s3server.Bucket, addr, s3server.Region)
}
