// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// copyBufferBytes is large enough that a hash or copy is not bound by calls.
const copyBufferBytes = 256 << 10

// attemptChars of base 32 tell one call of Publish from another of the same owner and round.
const attemptChars = 10

// Upload is one task's frozen files, to be published as its checkpoint of a round.
type Upload struct {
	// Manifest without Files, Format and Checksum. Created is filled if zero.
	Manifest Manifest
	// Dir holds the files; they must not change until Publish returns.
	Dir string
	// Files are the names in Dir that make up the checkpoint.
	Files []string
	// Known are files whose content under that name never changes (SSTs) and is in the store already:
	// they are neither read nor sent. Take it from the Manifest.Known of the checkpoint that this
	// task published or restored last, leaving out files that are rewritten in place.
	Known map[string]File
	// Inherited are further files of the checkpoint, which are not in Dir: those of the manifest of
	// KnownRound that stay what they are. Publish gives ErrMissing if that manifest does not name them.
	Inherited []File
	// KnownRound is the round of the manifest that Known and Inherited come from, in the same
	// incarnation. Publish reads that manifest and uses only what it confirms; 0, or a manifest that
	// is gone, means that all files in Dir are sent.
	KnownRound int64
}

// Stats tells what Publish or Restore did.
type Stats struct {
	Files, Bytes             int64 // sent or received
	ReusedFiles, ReusedBytes int64 // not sent, since the store or the folder had them
	Duration                 time.Duration
}

type counters struct {
	files, bytes, reusedFiles, reusedBytes atomic.Int64
}

func (c *counters) stats(began time.Time) Stats {
	return Stats{c.files.Load(), c.bytes.Load(), c.reusedFiles.Load(), c.reusedBytes.Load(), time.Since(began)}
}

// Publish sends the files that the store lacks, in parallel, and then creates the manifest, which alone
// makes them a checkpoint. If this generation had already published the task's checkpoint of the round
// (a repeat after a lost reply), that manifest is returned. If another has, the error is ErrSuperseded:
// the caller is no longer, or not yet, the owner that counts. May be repeated after any other error.
func (r *Repository) Publish(ctx context.Context, u Upload) (Manifest, Stats, error) {
	began := time.Now()
	fail := func(err error) (Manifest, Stats, error) {
		return Manifest{}, Stats{Duration: time.Since(began)},
			fmt.Errorf("publish checkpoint of task %s in round %d: %w", u.Manifest.Task, u.Manifest.Round, err)
	}
	l, err := r.checkUpload(u)
	if err != nil {
		return fail(err)
	}
	// Looking before sending spares a deposed owner, and its bucket, a useless upload.
	if standing, ok, err := r.standing(ctx, l, u.Manifest); ok || err != nil {
		if err != nil {
			return fail(err)
		}
		return standing, Stats{Duration: time.Since(began)}, nil
	}
	known, err := r.confirmKnown(ctx, l, u)
	if err != nil {
		return fail(err)
	}
	m, stats := u.Manifest, counters{}
	if m.Files, err = r.uploadFiles(ctx, l, u, known, &stats); err != nil {
		return fail(err)
	}
	for _, f := range u.Inherited {
		m.Files = append(m.Files, f)
		stats.reusedFiles.Add(1)
		stats.reusedBytes.Add(f.Size)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	if m.Created.IsZero() {
		m.Created = time.Now()
	}
	m.Created = storedTime(m.Created)
	published, err := r.createManifest(ctx, l, m, began)
	if err != nil {
		return fail(err)
	}
	return published, stats.stats(began), nil
}

// createNaming creates a document that names objects, within half the grace time of began, which is when it was first
// looked whether they are condemned, or when the first of them was sent: see doc.go on I3. Should the process have been
// suspended in the very call that creates it, the document is withdrawn.
func (r *Repository) createNaming(ctx context.Context, began time.Time, name string, document []byte) error {
	tooSlow := func() error {
		return fmt.Errorf("%w (%s, the grace time is %s)", ErrTooSlow, elapsed(began).Round(time.Second), r.grace)
	}
	limit := r.grace/2 - elapsed(began)
	if limit <= 0 {
		return tooSlow()
	}
	createCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.store.Create(createCtx, name, bytes.NewReader(document)); err != nil {
		return err
	}
	if elapsed(began) <= r.grace/2 {
		return nil
	}
	if err := r.store.Delete(ctx, name); err != nil {
		return fmt.Errorf("%w; withdraw %s: %w", tooSlow(), name, err)
	}
	return tooSlow()
}

func (r *Repository) checkUpload(u Upload) (life, error) {
	l, err := r.lifeRound(u.Manifest.Incarnation, u.Manifest.Round)
	if err != nil {
		return l, err
	}
	if u.Manifest.App != r.app {
		return l, fmt.Errorf("%w: manifest is of application %q, the repository of %q", ErrInvalid, u.Manifest.App, r.app)
	}
	m := u.Manifest
	m.Files = nil
	if err := m.validate(); err != nil {
		return l, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if n := len(u.Files) + len(u.Inherited); n > MaxFiles {
		return l, fmt.Errorf("%w: %d files, more than %d", ErrInvalid, n, MaxFiles)
	}
	return l, nil
}

// standing looks for a manifest of the same task and round. ok: it is this generation's own.
func (r *Repository) standing(ctx context.Context, l life, m Manifest) (Manifest, bool, error) {
	existing, err := r.readManifest(ctx, l, m.Round, m.Task)
	switch {
	case errors.Is(err, ErrMissing):
		return Manifest{}, false, nil
	case err != nil:
		return Manifest{}, false, err
	case existing.Generation != m.Generation:
		return Manifest{}, false, fmt.Errorf("%w: generation %s has published it, this is %s", ErrSuperseded, existing.Generation, m.Generation)
	}
	return existing, true, nil
}

func (r *Repository) createManifest(ctx context.Context, l life, m Manifest, began time.Time) (Manifest, error) {
	document, checksum, err := encodeManifest(m)
	if err != nil {
		return Manifest{}, err
	}
	err = r.createNaming(ctx, began, l.manifest(m.Round, m.Task), document)
	if errors.Is(err, objstore.ErrExists) {
		standing, ok, serr := r.standing(ctx, l, m)
		if serr == nil && !ok {
			serr = fmt.Errorf("%w: a manifest was there and is gone", ErrSuperseded)
		}
		return standing, serr
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("create manifest: %w", err)
	}
	m.Format, m.Checksum = formatVersion, checksum
	return m, nil
}

// confirmKnown returns those known files that a manifest names which exists now, and that are not condemned. What is
// condemned is sent anew. Inherited files cannot be: ErrMissing if one of them is condemned, or not named. Condemned objects
// are read before the manifest: see doc.go on I3.
func (r *Repository) confirmKnown(ctx context.Context, l life, u Upload) (map[string]File, error) {
	if len(u.Known)+len(u.Inherited) == 0 {
		return nil, nil
	}
	known := slices.DeleteFunc(slices.Collect(maps.Values(u.Known)), func(f File) bool {
		return checkObjectName(f.Object, f.SHA256) != nil
	})
	owners, err := ownersOf(append(known, u.Inherited...))
	if err != nil {
		return nil, err
	}
	condemned, err := r.condemnedOf(ctx, owners)
	if errors.Is(err, ErrCorrupt) && len(u.Inherited) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, err := r.readManifest(ctx, l, u.KnownRound, u.Manifest.Task)
	if err != nil && !IsDamage(err) {
		return nil, fmt.Errorf("read the manifest of round %d to build on: %w", u.KnownRound, err)
	}
	named := base.Known() // none if it is gone
	for _, f := range u.Inherited {
		if named[f.Name] != f || condemned.has(f.Object) {
			return nil, fmt.Errorf("build on round %d: %w: its manifest does not name file %s as %s, or that is about to be collected", u.KnownRound, ErrMissing, f.Name, f.Object)
		}
	}
	confirmed := map[string]File{}
	for name, f := range u.Known {
		if named[name] == f && !condemned.has(f.Object) {
			confirmed[name] = f
		}
	}
	return confirmed, nil
}

func (r *Repository) uploadFiles(ctx context.Context, l life, u Upload, known map[string]File, c *counters) ([]File, error) {
	root, err := os.OpenRoot(u.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of files: %w", err)
	}
	defer root.Close()
	files := make([]File, len(u.Files))
	s := r.newSender(l, u.Manifest.Generation, u.Manifest.Round)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, name := range u.Files {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := s.send(ctx, root, name, known)
			if err != nil {
				return fmt.Errorf("upload file %s: %w", name, err)
			}
			files[i] = f
			if f == known[name] {
				c.reusedFiles.Add(1)
				c.reusedBytes.Add(f.Size)
			} else {
				c.files.Add(1)
				c.bytes.Add(f.Size)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return files, nil
}

type sender struct {
	r          *Repository
	l          life
	generation string
	round      int64
	attempt    string
}

// newSender begins an upload, whose objects have a folder of their own.
func (r *Repository) newSender(l life, generation string, round int64) sender {
	return sender{r, l, generation, round, strings.ToLower(rand.Text()[:attemptChars])}
}

func (s sender) send(ctx context.Context, root *os.Root, name string, known map[string]File) (File, error) {
	if err := checkFileName(name); err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	info, err := root.Lstat(name)
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%w: it is not a regular file but %s", ErrInvalid, info.Mode())
	}
	if f, ok := known[name]; ok && f.Size == info.Size() {
		return f, nil
	}
	file, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	f := File{Name: name, Size: info.Size()}
	if f.SHA256, err = hashFile(ctx, file, f.Size); err != nil {
		return File{}, err
	}
	f.Object = s.l.object(s.generation, s.round, s.attempt, f.SHA256)
	return f, s.r.store.Put(ctx, f.Object, io.NewSectionReader(file, 0, f.Size))
}

// hashFile hashes a file and checks that it has the size that was asked for.
func hashFile(ctx context.Context, file io.ReaderAt, size int64) (string, error) {
	hash := sha256.New()
	// One byte more than there should be shows a file that still grows.
	body := objstore.ContextReader(ctx, io.NewSectionReader(file, 0, size+1))
	n, err := io.CopyBuffer(hash, body, make([]byte, copyBufferBytes))
	if err != nil {
		return "", err
	}
	if n != size {
		return "", fmt.Errorf("%w: it changed while it was read: %d bytes, not %d", ErrInvalid, n, size)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Manifest reads one task's manifest. The error wraps ErrMissing, ErrCorrupt or ErrFutureFormat where one
// applies.
func (r *Repository) Manifest(ctx context.Context, incarnation int, round int64, task partition.TaskID) (Manifest, error) {
	l, err := r.lifeRound(incarnation, round)
	if err != nil {
		return Manifest{}, err
	}
	return r.readManifest(ctx, l, round, task)
}

func (r *Repository) readManifest(ctx context.Context, l life, round int64, task partition.TaskID) (Manifest, error) {
	name := l.manifest(round, task)
	document, err := objstore.ReadAll(ctx, r.store, name, MaxManifestBytes)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return Manifest{}, fmt.Errorf("read manifest: %w: %w", ErrMissing, err)
	case errors.Is(err, objstore.ErrTooLarge), errors.Is(err, objstore.ErrDamaged):
		return Manifest{}, fmt.Errorf("read manifest %s: %w: %w", name, ErrCorrupt, err)
	case err != nil:
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	m, err := DecodeManifest(document)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s: %w", name, err)
	}
	if own := (life{m.App, m.Incarnation}).manifest(m.Round, m.Task); own != name {
		return Manifest{}, fmt.Errorf("read manifest %s: %w: it is the manifest %s", name, ErrCorrupt, own)
	}
	return m, nil
}
