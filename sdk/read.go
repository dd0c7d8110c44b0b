package sdk

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Verify asks for one verdict. Whatever the verdict says, the error is nil; an error means that there is
// none.
func (c *Client) Verify(ctx context.Context, q model.Query) (model.Verdict, error) {
	return postRead[model.Verdict](ctx, c, "/v1/verify", q)
}

// VerifyAll asks for up to model.MaxQueries verdicts, in order.
func (c *Client) VerifyAll(ctx context.Context, queries []model.Query) ([]model.Verdict, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	return postRead[[]model.Verdict](ctx, c, "/v1/verify", queries)
}

// VerifyPublic asks as anybody may, without a key.
func (c *Client) VerifyPublic(ctx context.Context, q PublicQuery) (PublicVerdict, error) {
	return postRead[PublicVerdict](ctx, c, "/public/verify", q)
}

// postRead is a read whose question is too long for a URL.
func postRead[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	body, err := encode(in)
	if err != nil {
		var none T
		return none, err
	}
	return exchange[T](ctx, c, call{method: http.MethodPost, path: path, body: body})
}

// Record reads a record as it stands.
func (c *Client) Record(ctx context.Context, kind model.Kind, id model.RecordID) (Record, error) {
	return get[Record](ctx, c, recordPath(kind, id))
}

func recordPath(kind model.Kind, id model.RecordID) string {
	return "/v1/records/" + url.PathEscape(string(kind)) + "/" + url.PathEscape(string(id))
}

// History walks a record's versions, oldest first, asking for more as it goes. It ends with the first error.
func (c *Client) History(ctx context.Context, kind model.Kind, id model.RecordID) iter.Seq2[model.HistoryEntry, error] {
	return func(yield func(model.HistoryEntry, error) bool) {
		path := recordPath(kind, id) + "/history?limit=1000"
		for next := path; ; {
			page, err := get[HistoryPage](ctx, c, next)
			if err != nil {
				yield(model.HistoryEntry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
			if page.Next == nil || len(page.Entries) == 0 {
				return
			}
			next = path + "&from=" + strconv.FormatUint(*page.Next, 10)
		}
	}
}

// Entries walks the registry's records of a kind in the order of their ids. It ends with the first error.
func (c *Client) Entries(ctx context.Context, kind model.Kind) iter.Seq2[model.View, error] {
	return func(yield func(model.View, error) bool) {
		path := "/v1/registry/" + url.PathEscape(string(kind)) + "?limit=1000"
		for next := path; ; {
			page, err := get[RecordPage](ctx, c, next)
			if err != nil {
				yield(model.View{}, err)
				return
			}
			for _, v := range page.Records {
				if !yield(v, nil) {
					return
				}
			}
			if page.Next == "" || len(page.Records) == 0 {
				return
			}
			next = path + "&after=" + url.QueryEscape(string(page.Next))
		}
	}
}

// Entry reads one entry of the registry.
func (c *Client) Entry(ctx context.Context, kind model.Kind, id model.RecordID) (Record, error) {
	return get[Record](ctx, c, "/v1/registry/"+url.PathEscape(string(kind))+"/"+url.PathEscape(string(id)))
}

// Ready asks how the node is, in one word. A node that is not ready is an answer, not an error.
func (c *Client) Ready(ctx context.Context) (Status, error) {
	a, _, err := c.attempt(ctx, call{method: http.MethodGet, path: "/readyz"})
	if err != nil && a.status != http.StatusServiceUnavailable {
		return "", giveUp(call{}, err, false)
	}
	var word struct {
		Status Status `json:"status"`
	}
	err = decodeAnswer(a.body, &word)
	return word.Status, err
}
