package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Caller is a signed-in principal. Values are immutable and shared between requests.
type Caller interface {
	// ID is stable over the principal's life, however he signs in.
	ID() string
	// Name is the person's or system's own name. It is for this node's access log and never leaves for the ledger.
	Name() string
	// Agency is that for which the caller acts, with those below it; "" for a hosted party's people, whose party it is.
	Agency() model.AgencyID
	Party() model.USCC
	Person() model.Pseudonym
	// May says whether the caller may do an action for its own agency.
	May(action string) bool
	// Decide says whether the caller may do an action on what belongs to an agency ("" for what belongs to none
	// in particular), and which policy says so. An action is an operation's type, or one of the Action constants;
	// what the policies do not know is denied. It stays in memory.
	Decide(action string, owner model.AgencyID) Decision
}

// Decision is a decision and the id of the policy that it rests on; of a denial "default-deny" where no policy
// permits. Package auth has the same type.
type Decision = struct {
	Allowed bool
	Policy  string
}

// Actions that are not operations.
const (
	ActionReadRecord    = "record.read"
	ActionReadRegistry  = "registry.read"
	ActionReadOperation = "operation.read"
	ActionReadEvents    = "event.read"
	ActionVerify        = "verify"
	ActionReadSelf      = "self.read"
	ActionReadAccess    = "access.read"
	ActionReadPeople    = "people.read"
	ActionChangePeople  = "people.change" // to ask for a change of users or keys, and to be the second person for it

	ActionReadDraft       = "draft.read"             // the inbox: what one wrote oneself, may decide, or may read the records of
	ActionApproveLicence  = "draft.approve-licence"  // to be the second person for endings and batches of licences,
	ActionApproveRegistry = "draft.approve-registry" // for what changes the registry,
	ActionApproveKey      = "draft.approve-key"      // for signing keys and endpoints
)

// Gate knows callers and counts requests. Safe for concurrent use.
type Gate interface {
	// SignIn finds the caller of a request by its header, its client certificate or its cookies; it does not read the
	// body. Its errors are unauthenticated, whatever is wrong with what was presented; cross_origin, where another site
	// has a browser send it; issuer_unreachable, after 5 s at most, where only an issuer that does not answer could say;
	// rate_limited, after 5 s, where too many others sign in. Who presents a key waits for nobody.
	SignIn(r *http.Request) (Caller, error)
	// TakeCaller counts one request of a caller; TakeOpen one of an open route, and TakeFailed a failed sign-in, by the
	// address that the request comes from. Zero: go on. Otherwise: how long to wait.
	TakeCaller(id string) time.Duration
	TakeOpen(r *http.Request, route string) time.Duration
	TakeFailed(r *http.Request) time.Duration
	// Wait is asked before SignIn and counts nothing: where that would take much more than looking something up, whoever
	// has failed too often is told how long to wait before any of it is done for him. Zero: go on.
	Wait(r *http.Request) time.Duration
}

// Login signs browsers in. Safe for concurrent use.
type Login interface {
	// Begin answers by sending the browser to an identity provider. Where it returns an error it has written nothing.
	Begin(w http.ResponseWriter, r *http.Request) error
	// Finish takes the browser that comes back: it sets the session's cookie and returns the path on this node to go on
	// to. Its errors are those of SignIn.
	Finish(w http.ResponseWriter, r *http.Request) (next string, err error)
	// End ends the browser's session and takes its cookie away.
	End(w http.ResponseWriter, r *http.Request)
}

// Access takes down who asked for what. Nothing is answered to a signed-in caller before its entry is taken. Safe for
// concurrent use. Errors are access_log_unavailable: what the entry is about must not be answered.
type Access interface {
	// Ready is nil while entries can be taken. It stays in memory.
	Ready() error
	// Append takes an entry and keeps nothing of it; it is on the disk a second later at the latest.
	Append(e *sdk.AccessEntry) error
	// Begin takes an entry, and wait returns once it is on the disk. Concurrent callers share a sync.
	Begin(e *sdk.AccessEntry) (wait func(context.Context) error, err error)
	// Count counts a request that is told by number only: 401 a failed sign-in, 429 one too many.
	Count(status int)
}

// AccessQuery asks for entries of the access log; what is left out is not asked about.
type AccessQuery struct {
	Record      sdk.AccessRecord
	Person      string
	Agency      model.AgencyID
	From, Until time.Time                 // until is exclusive
	Sees        func(model.AgencyID) bool // whether the caller may see entries of an agency's people
	After       uint64
	Limit       int
}

// AccessReader reads the access log.
type AccessReader interface {
	// Read lists entries in their order; the page has a next one unless the log was read to its end.
	Read(ctx context.Context, q AccessQuery) (sdk.AccessPage, error)
	// Clerk is the pseudonym under which the log keeps a user name that a request states.
	Clerk(username string) model.Pseudonym
}

// Submission is one request to write.
type Submission struct {
	Principal string
	Agency    model.AgencyID
	Person    model.Pseudonym
	Name      string       // for the second person to read, where one is needed; it stays at this node
	Source    string       // the way by which a back office pushed, "" for a request: the key is its and not the principal's
	Writers   []string     // principals who can write there: none of them approves what comes that way
	Batch     string       // id of the open batch that the request says it belongs to, "" for none
	Key       string       // Idempotency-Key, "" for none
	Digest    model.Digest // of route and body: the same key with another digest is a mistake
	Drafts    []model.Draft
}

// Intake accepts operations. Safe for concurrent use.
type Intake interface {
	// Accept accepts all drafts or none, and returns once they are durable: the ids of their operations, in
	// order. The same principal, key and digest give the same ids again and write nothing; another digest is
	// idempotency_mismatch. An error is about draft index where index ≥ 0; nothing was written then.
	// Accept keeps parts of the drafts; the caller does not touch them again.
	//
	// A *Held error: another person must approve, and the request waits for that, durably.
	Accept(ctx context.Context, s Submission) (ids []model.OpID, index int, err error)
	// Wait returns the operations' outcomes, in order, as soon as none is pending or ctx is done; those
	// still under way are pending then, which is no error.
	Wait(ctx context.Context, ids []model.OpID) ([]model.Outcome, error)
	// Outcome tells what became of one operation: not_found where this node never accepted it nor saw it
	// on the ledger.
	Outcome(ctx context.Context, id model.OpID) (model.Outcome, error)
}

// Held is the answer to a request that waits for a second person. It unwraps to awaiting_approval.
type Held struct{ Draft sdk.HeldDraft }

func (h *Held) Error() string { return string(model.CodeAwaitingApproval) + ": draft " + h.Draft.ID }
func (h *Held) Unwrap() error {
	return model.E(model.CodeAwaitingApproval).With("draft %s", h.Draft.ID)
}

// Inbox keeps what waits for a second person. Drafts have neither Mine nor MayDecide: those are of who asks. Who calls
// has looked at rights; that nobody decides his own draft the inbox sees to. Safe for concurrent use.
type Inbox interface {
	// Drafts lists drafts in the order in which they came, at most limit; next begins the next page, "" on the last.
	// A page may be short and not the last.
	Drafts(ctx context.Context, q DraftQuery) (page []sdk.HeldDraft, next string, err error)
	// Draft finds one with its operations, none where they are erased or it asks for a batch.
	Draft(ctx context.Context, id string) (sdk.HeldDraft, []model.Draft, error)
	// Decide approves (content is the digest that the approver saw), rejects or withdraws a pending draft, once: who
	// comes second hears already_decided. An approved draft is handed to Intake; its problem, if that refuses, stands
	// in the draft that is returned.
	Decide(ctx context.Context, by Caller, id string, to sdk.DraftState, content model.Digest, reason string) (sdk.HeldDraft, error)
	// Again finds the operations of a draft as they were asked for, to be sent once more, and who may not approve them then
	// either: Submission.Writers.
	Again(ctx context.Context, id string) (drafts []model.Draft, writers []string, err error)
}

// DraftQuery says which drafts to list.
type DraftQuery struct {
	State   sdk.DraftState // "" for all
	Drafter string         // principal, "" for all
	After   string
	Limit   int
	Visible func(*sdk.HeldDraft) bool
}

// Batches registers what is sent in many requests. Safe for concurrent use.
type Batches interface {
	// Register makes a batch, open or with the draft that asks for it. The same principal, key and digest are the same.
	Register(ctx context.Context, s Submission, t sdk.BatchTerms) (sdk.HeldBatch, error)
	// Batch finds one, with the draft that asked for it and who registered it.
	Batch(ctx context.Context, id string) (b sdk.HeldBatch, principal string, err error)
}

// Agencies are those that this node acts for. It stays in memory. Safe for concurrent use.
type Agencies interface {
	// Host is the agency that hosts a party at this node, "" where none does. Its administrators manage the party's people,
	// and its auditors audit them.
	Host(party model.USCC) model.AgencyID
	// Tops are the node's agencies that stand below no other agency of the node: what is the node's own is for their auditors.
	Tops() []model.AgencyID
}

// People are who may sign in at this node, and their API keys. Who calls has looked at rights; that a change waits for a
// second person, where that rule is in force, People sees to. Safe for concurrent use.
type People interface {
	// List lists all users and keys, disabled and revoked ones too, the oldest first, and never a key itself. It stays in
	// memory; the slices are the caller's.
	List() ([]sdk.User, []sdk.APIKey)
	// Words say what a change of a draft does, and whether its user has been changed since, so that it will be refused.
	Words(d *model.Draft) (zh, en string, moved bool)
	// Change makes the change that is the submission's one draft (its body an sdk.PeopleChange) and returns once it is on
	// the disk and in force. The same principal, key and digest are the same change. A *Held error: another person must
	// approve, and it waits for that, durably; other errors are *model.Error, and nothing was changed.
	Change(ctx context.Context, s Submission) (sdk.PeopleChanged, error)
	// Draw makes the key of an approved draft of the caller's own, once: key_shown afterwards.
	Draw(ctx context.Context, by Caller, draft string) (sdk.PeopleChanged, error)
}

// Imports runs imports at the node. Who calls has looked at rights; the rights of each operation are looked at again as
// it is sent. Safe for concurrent use.
type Imports interface {
	// Create stores a file and has it imported. Nothing is kept of one that is cut off or too large.
	Create(r ImportRequest, file io.Reader) (sdk.Import, error)
	// Get finds an import, and a channel that is closed at its next change.
	Get(id string) (sdk.Import, <-chan struct{}, error)
	// List lists all, the newest first.
	List() []sdk.Import
	// Cancel stops one; what is issued stays issued.
	Cancel(id string) (sdk.Import, error)
	// Undo has what an import has issued rescinded, once it has ended; the same asked again is the same undoing.
	Undo(id string, r ImportUndoing) (sdk.Import, error)
	// Rejects opens the rejected rows, and names the file they are in.
	Rejects(id string) (file io.ReadCloser, name string, err error)
}

// ImportUndoing is who has an import undone, and why.
type ImportUndoing struct {
	Principal string
	By        string // name, for people
	sdk.UndoImport
}

// ImportRequest is who imports what, and how.
type ImportRequest struct {
	Principal string
	Agency    model.AgencyID
	By        string // name, for people
	Name      string // of the file
	MapName   string // of a map that comes with the program, or "" with Map
	Map       []byte
	Encoding  string
	Sheet     string
	Cached    bool
	Legacy    bool
	CheckOnly bool
}

// Records is what this node has applied of the ledger. Each answer is from one consistent state, the one
// that Reflects tells. Safe for concurrent use; nothing here asks the ledger.
type Records interface {
	// View shows a record, not_found if there is none.
	View(ctx context.Context, kind model.Kind, id model.RecordID) (model.View, sdk.Reflects, error)
	// History lists a record's versions whose position is greater than after (−1: all), oldest first, at most
	// limit; not_found if there is no record.
	History(ctx context.Context, kind model.Kind, id model.RecordID, after int64, limit int) ([]model.HistoryEntry, sdk.Reflects, error)
	// List lists records of a kind whose id is greater than after, in the order of ids, at most limit.
	List(ctx context.Context, kind model.Kind, after model.RecordID, limit int) ([]model.View, sdk.Reflects, error)
}

// Log is the log of all operations in the order of their positions. Safe for concurrent use.
type Log interface {
	// Entries lists entries whose position is greater than after (−1: from the first), at most limit. None
	// is no error: more may come.
	Entries(ctx context.Context, after int64, limit int) ([]sdk.Event, error)
	// Head is the position of the newest entry (−1: none) and a channel that is closed once there is a
	// newer one.
	Head() (position int64, grown <-chan struct{})
}

// Verifier gives verdicts, one for each query, in order. A query that cannot be answered has the verdict
// undetermined; there is no error. Safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, queries []model.Query) []model.Verdict
}

// Health tells how the node's parts are. Called for every probe, so it must not block.
type Health interface {
	Components() []sdk.Component
}
