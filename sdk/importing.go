package sdk

import (
	"context"
	"errors"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// NewImport says how a file is to be imported.
type NewImport struct {
	Map          string // the name of a map that comes with the node's program, or a map's text
	Name         string // of the file
	Sheet        string // of a workbook: its name or number; "" for the map's, or the first one shown
	Encoding     string // of a text file; "" finds it out
	CachedValues bool   // take a formula's stored result
	Legacy       bool   // take codes that do not check over, never valid until corrected
	CheckOnly    bool   // issue nothing
}

// uploadTime is the longest that a node receives one file.
const uploadTime = time.Hour

// CreateImport uploads a file, of at most 256 MB, which the node imports by itself; the answer is the import as it was
// taken. It is sent once, since a file that is read cannot be read again: where the answer is lost the error is
// outcome_unknown, Imports shows whether the import is there, and the same file under the same map imported twice issues
// nothing twice.
func (c *Client) CreateImport(ctx context.Context, in NewImport, file io.Reader) (Import, error) {
	ctx, cancel := context.WithTimeout(ctx, uploadTime)
	defer cancel()
	body, fill := io.Pipe()
	form := multipart.NewWriter(fill)
	go func() { // it ends with the request, which closes body
		err := form.WriteField("map", in.Map)
		for _, f := range []struct{ name, value string }{
			{"sheet", in.Sheet}, {"encoding", in.Encoding},
			{"cached_values", yes(in.CachedValues)}, {"legacy", yes(in.Legacy)}, {"check_only", yes(in.CheckOnly)},
		} {
			if err == nil && f.value != "" {
				err = form.WriteField(f.name, f.value)
			}
		}
		var part io.Writer
		if err == nil {
			part, err = form.CreateFormFile("file", in.Name)
		}
		if err == nil {
			_, err = io.Copy(part, file)
		}
		if err == nil {
			err = form.Close()
		}
		fill.CloseWithError(err) // nil ends the body
	}()
	defer body.Close()
	req, err := c.request(ctx, call{method: http.MethodPost, path: "/v1/imports"})
	if err != nil {
		return Import{}, err
	}
	req.Body = body
	req.Header.Set("Content-Type", form.FormDataContentType())
	res, err := c.streaming().Do(req)
	if err != nil {
		return Import{}, uploadFailed(asTransport(err))
	}
	defer res.Body.Close()
	raw, err := readAnswer(res)
	if err != nil {
		return Import{}, uploadFailed(err)
	}
	if res.StatusCode != http.StatusAccepted {
		return Import{}, problemError(res.StatusCode, raw)
	}
	var out Import
	return out, decodeAnswer(raw, &out)
}

// uploadFailed says what is known of an upload without an answer.
func uploadFailed(err error) error {
	var failed *transportError
	if errors.As(err, &failed) && failed.sent {
		return model.E(model.CodeOutcomeUnknown).With("the node's imports show whether it was taken").Because(err)
	}
	return giveUp(call{}, err, false)
}

func yes(b bool) string {
	if b {
		return strconv.FormatBool(b)
	}
	return ""
}

// Imports lists the imports of agencies that the caller may issue for, the newest first, without their faults.
func (c *Client) Imports(ctx context.Context) ([]Import, error) {
	list, err := get[ImportList](ctx, c, "/v1/imports")
	return list.Imports, err
}

// Import tells how an import stands.
func (c *Client) Import(ctx context.Context, id string) (Import, error) {
	return get[Import](ctx, c, importPath(id, ""))
}

// WatchImport tells how an import, or its undoing, goes on: at once, and then with every change that is a second apart
// from the last. It ends when the import has, after the last of it, or with ctx or an error. An import that waits for an
// approval goes on by itself, and so does this.
func (c *Client) WatchImport(ctx context.Context, id string) iter.Seq2[Import, error] {
	return func(yield func(Import, error) bool) {
		for told := int64(-1); ; {
			i, err := c.Import(ctx, id)
			if err != nil {
				yield(i, err)
				return
			}
			if i.Event != told {
				if told = i.Event; !yield(i, nil) {
					return
				}
			}
			if i.Ended() {
				return
			}
			if !sleep(ctx, time.Second) {
				yield(i, ctx.Err())
				return
			}
		}
	}
}

// ImportRejects writes the rejected rows of an import to w, in the format of its file: put right, they can be imported.
// They hold what the rows hold. not_found where there are none, or where they are erased. Where it fails, what w has is
// not whole.
func (c *Client) ImportRejects(ctx context.Context, id string, w io.Writer) error {
	return c.download(ctx, importPath(id, "rejects"), w)
}

// CancelImport stops an import, or its undoing. What is issued stays issued, and what is rescinded rescinded; one that has
// ended is left as it is.
func (c *Client) CancelImport(ctx context.Context, id string) (Import, error) {
	return c.importAct(ctx, id, "cancel", struct{}{})
}

// UndoImport has what an import has issued rescinded, from the licences' first day, once the import has ended. Another
// person must approve: the answer's Undo says for which draft it waits, and goes on by itself. The same asked again while
// it is under way is the same undoing; transition_not_allowed where the import has not ended, has issued nothing, or is
// being undone in another way.
func (c *Client) UndoImport(ctx context.Context, id string, in UndoImport) (Import, error) {
	return c.importAct(ctx, id, "undo", in)
}

func importPath(id, act string) string {
	p := "/v1/imports/" + url.PathEscape(id)
	if act != "" {
		p += "/" + act
	}
	return p
}

// importAct asks for what is the same however often it is asked for.
func (c *Client) importAct(ctx context.Context, id, act string, in any) (Import, error) {
	body, err := encode(in)
	if err != nil {
		return Import{}, err
	}
	return exchange[Import](ctx, c, call{method: http.MethodPost, path: importPath(id, act), body: body, key: newKey()})
}
