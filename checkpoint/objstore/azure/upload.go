// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	// defaultPartBytes sends all but giant state files in one request.
	defaultPartBytes = 128 << 20
	// partThreads is how many blocks of one object travel at once.
	partThreads = 2
)

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	if body.Size() > s.part {
		return s.putBlocks(ctx, name, body)
	}
	return s.upload(ctx, "put", name, body, nil)
}

// Create implements objstore.Store.
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	whatever := azcore.ETagAny
	free := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &whatever}}
	return s.upload(ctx, "create", name, body, free)
}

func (s *Store) upload(ctx context.Context, verb, name string, body objstore.Body, conditions *blob.AccessConditions) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("%s object: %w", verb, err)
	}
	content, digest, err := prepare(ctx, body, 0, body.Size())
	if err != nil {
		return fmt.Errorf("%s object %s: read its content: %w", verb, name, err)
	}
	_, err = s.client.NewBlockBlobClient(s.prefix+name).Upload(ctx, content,
		&blockblob.UploadOptions{TransactionalValidation: digest, AccessConditions: conditions})
	return s.fail(ctx, verb, name, err)
}

// putBlocks sends an object in blocks. Names of blocks are random, so that another upload of the same object
// cannot have its blocks committed by this one.
func (s *Store) putBlocks(ctx context.Context, name string, body objstore.Body) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	client := s.client.NewBlockBlobClient(s.prefix + name)
	var blocks []string
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(partThreads)
	for at := int64(0); at < body.Size(); at += s.part {
		block := base64.StdEncoding.EncodeToString([]byte(rand.Text()))
		blocks = append(blocks, block)
		group.Go(func() error {
			content, digest, err := prepare(groupCtx, body, at, min(s.part, body.Size()-at))
			if err != nil {
				return fmt.Errorf("put object %s: read its content: %w", name, err)
			}
			_, err = client.StageBlock(groupCtx, block, content, &blockblob.StageBlockOptions{TransactionalValidation: digest})
			return s.fail(ctx, "put", name, err)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := client.CommitBlockList(ctx, blocks, nil)
	return s.fail(ctx, "put", name, err)
}

// prepare returns a stretch of a content as the client takes it, and its digest. A content that ends early is an
// error.
func prepare(ctx context.Context, body objstore.Body, at, length int64) (io.ReadSeekCloser, blob.TransferValidationType, error) {
	digest := md5.New()
	if err := objstore.CopyBody(ctx, digest, body, at, length); err != nil {
		return nil, nil, err
	}
	return streaming.NopCloser(io.NewSectionReader(body, at, length)), blob.TransferValidationTypeMD5(digest.Sum(nil)), nil
}
