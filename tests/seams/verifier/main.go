// Command verifier checks an audit log with golang.org/x/mod/sumdb alone: it shares no line with the log's own code.
//
//	verifier archive DIRECTORY VKEY [OLD]   checkpoint, every tile and every entry; and that it goes on from OLD
//	verifier event PROOF ENTRY VKEY         a tlog-proof of one entry
//	verifier goes-on REQUEST OLD VKEY       the consistency proof of an add-checkpoint request
//
// VKEY, OLD, PROOF, ENTRY and REQUEST are files. It prints what it accepted, or fails with what it did not.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// archive is a directory of C2SP tiles, which are tlog's own but for the height in their paths.
type archive struct{ root string }

func (a archive) Height() int                             { return height }
func (a archive) SaveTiles(tiles []tlog.Tile, _ [][]byte) {}

func (a archive) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := a.file(path, tile.W)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s is cut short", path)
		}
		read = append(read, data[:tile.W*tlog.HashSize])
	}
	return read, nil
}

// file is a tile or a bundle; what a full one has replaced stands at its head.
func (a archive) file(path string, width int) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(a.root, path))
	if errors.Is(err, os.ErrNotExist) && width < 1<<height {
		data, err = os.ReadFile(filepath.Join(a.root, strings.TrimSuffix(path, fmt.Sprintf(".p/%d", width))))
	}
	return data, err
}

// entries are those of the bundle beside a tile of level 0.
func (a archive) entries(index int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: index, W: width}
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	data, err := a.file(path, width)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut within an entry", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(entries) < width {
		return nil, fmt.Errorf("%s has %d entries, not %d", path, len(entries), width)
	}
	return entries[:width], nil
}

// opened is the tree of a checkpoint that the log of this key signed.
func opened(data []byte, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("checkpoint: not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func checkArchive(root string, verifier note.Verifier, old string) error {
	files := archive{root}
	data, err := os.ReadFile(filepath.Join(root, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := opened(data, verifier)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, files)
	computed, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	if computed != tree.Hash {
		return fmt.Errorf("tiles: the root is %v, not %v", computed, tree.Hash)
	}
	if old != "" {
		if err := checkPast(old, verifier, tree, func(past tlog.Tree) (tlog.TreeProof, error) {
			return tlog.ProveTree(tree.N, past.N, hashes)
		}); err != nil {
			return err
		}
	}
	for first := int64(0); first < tree.N; first += 1 << height {
		width := int64(1 << height)
		if tree.N-first < width {
			width = tree.N - first
		}
		entries, err := files.entries(first>>height, int(width))
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for at := range indexes {
			indexes[at] = tlog.StoredHashIndex(0, first+int64(at))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("tiles: %w", err)
		}
		for at, entry := range entries {
			if tlog.RecordHash(entry) != leaves[at] {
				return fmt.Errorf("entry %d is not the one that was sealed", first+int64(at))
			}
		}
	}
	fmt.Printf("archive of %d entries accepted\n", tree.N)
	return nil
}

func checkPast(old string, verifier note.Verifier, tree tlog.Tree, prove func(tlog.Tree) (tlog.TreeProof, error)) error {
	data, err := os.ReadFile(old)
	if err != nil {
		return err
	}
	past, err := opened(data, verifier)
	if err != nil {
		return err
	}
	if past.N > tree.N {
		return fmt.Errorf("cut: %d entries were sealed before, %d are left", past.N, tree.N)
	}
	proof, err := prove(past)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, past.N, past.Hash); err != nil {
		return fmt.Errorf("history rewritten since %d entries: %w", past.N, err)
	}
	return nil
}

func checkEvent(proof, entry string, verifier note.Verifier) error {
	head, signed, hashes, err := parts(proof)
	if err != nil {
		return err
	}
	if len(head) != 2 || head[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(head[1], "index ") {
		return errors.New("no tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(head[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	tree, err := opened(signed, verifier)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(entry)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(data)); err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	fmt.Printf("entry %d of %d accepted\n", index, tree.N)
	return nil
}

func checkGoesOn(request, old string, verifier note.Verifier) error {
	head, signed, hashes, err := parts(request)
	if err != nil {
		return err
	}
	tree, err := opened(signed, verifier)
	if err != nil {
		return err
	}
	if err := checkPast(old, verifier, tree, func(past tlog.Tree) (tlog.TreeProof, error) {
		if len(head) != 1 || head[0] != fmt.Sprintf("old %d", past.N) {
			return nil, errors.New("the request is about another size")
		}
		return tlog.TreeProof(hashes), nil
	}); err != nil {
		return err
	}
	fmt.Printf("checkpoint of %d entries goes on from the old one\n", tree.N)
	return nil
}

// parts are the lines before the hashes, the note under the blank line, and the hashes in between.
func parts(path string) (head []string, signed []byte, hashes tlog.RecordProof, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, nil, err
	}
	above, below, found := strings.Cut(string(data), "\n\n")
	if !found {
		return nil, nil, nil, fmt.Errorf("%s has no checkpoint", path)
	}
	for _, line := range strings.Split(above, "\n") {
		if strings.Contains(line, " ") || strings.Contains(line, "@") {
			head = append(head, line)
			continue
		}
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, nil, nil, err
		}
		hashes = append(hashes, hash)
	}
	return head, []byte(below), hashes, nil
}

func run(arguments []string) error {
	usage := errors.New("usage: verifier archive DIRECTORY VKEY [OLD] | event PROOF ENTRY VKEY | goes-on REQUEST OLD VKEY")
	if len(arguments) < 3 || len(arguments) > 4 || (arguments[0] != "archive" && len(arguments) != 4) {
		return usage
	}
	place := 3
	if arguments[0] == "archive" {
		place = 2
	}
	key, err := os.ReadFile(arguments[place])
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	switch arguments[0] {
	case "archive":
		return checkArchive(arguments[1], verifier, strings.Join(arguments[3:], ""))
	case "event":
		return checkEvent(arguments[1], arguments[2], verifier)
	case "goes-on":
		return checkGoesOn(arguments[1], arguments[2], verifier)
	}
	return usage
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "verifier:", err)
		os.Exit(1)
	}
}
