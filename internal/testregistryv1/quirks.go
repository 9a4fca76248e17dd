package testregistryv1

// Ranges is how a server treats the Range header of a layer.
type Ranges int

// The ways seen.
const (
	RangesProper  Ranges = iota // as RFC 9110 says
	RangesPython                // 206 without unit, one byte too few for open ranges, 416 for single bytes
	RangesIgnored               // 200 and everything, chunked
)

// TagAnswer is what a question for one tag yields.
type TagAnswer int

// The answers seen.
const (
	TagString  TagAnswer = iota // a JSON string
	TagBare                     // the identifier without quotes
	TagMap                      // the map of all tags, even for a tag that is not there
	TagMissing                  // 404: the route is not there
)

// Token is how the index hands out its token.
type Token int

// The spellings seen.
const (
	TokenNone      Token = iota
	TokenWithWord        // X-Docker-Token and WWW-Authenticate: Token signature=…,repository="…",access=…
	TokenBare            // X-Docker-Token without the word
	TokenLiteral         // X-Docker-Token: token
	TokenSplit           // in three X-Docker-Token headers
	TokenChallenge       // in WWW-Authenticate alone
)

// Quirks is a server's character. The presets are those of servers that were
// observed; tests change single fields.
type Quirks struct {
	Name string // of the preset

	PingBody    string
	Standalone  string // X-Docker-Registry-Standalone, "" for no such header
	Version     string // X-Docker-Registry-Version
	VersionOnce bool   // on the ping alone

	JSON       string // Content-Type of JSON, "" for application/json
	Spaced     bool   // JSON as Python writes it
	NoCache    bool   // Cache-Control, Expires and Pragma as the Python server sends them
	Cacheable  bool   // image routes carry Cache-Control and Last-Modified, and answer If-Modified-Since with 304
	RequestID  bool   // X-Request-Id on all answers
	QuietError bool   // errors have no body

	Token           Token
	RequireToken    bool     // tags and images want a good token
	SingleUse       bool     // a token is good for one request; then a cookie takes its place
	RequireCookie   bool     // image routes want the cookie that the index set
	RequireBasic    string   // "user:password" for the index, and for all routes where Standalone is true
	NoIndex         bool     // index routes are not there
	Endpoints       []string // X-Docker-Endpoints; nil for the server's own host
	EndpointLines   bool     // one header for each
	EndpointsOnTags bool     // tags carry the header too
	EmptyImages     bool     // images is always []
	NoLibrary       bool     // library/NAME is not known as NAME

	Tags         TagAnswer
	EmptyTags    bool // tags of an unknown repository are {} rather than 404
	CheckAgent   bool // image JSON wants a User-Agent with docker/VERSION
	Uploading    bool // images that are not complete answer 400
	Ranges       Ranges
	LayerType    string // Content-Type of layers
	CloseMissing bool   // a missing layer closes the connection without an answer
	NoSize       bool   // no X-Docker-Size
	ChecksumBack bool   // X-Docker-Checksum-Payload is served back
	CheckIDs     bool   // image identifiers are checked: others are 404 "Invalid image ID"
}

// Python is docker-registry 0.9.1 (Python) as a registry of its own.
func Python() Quirks {
	return Quirks{
		Name: "docker-registry 0.9.1 (Python)", PingBody: "{}", Standalone: "True",
		Spaced: true, NoCache: true, Cacheable: true, Token: TokenWithWord, Uploading: true,
		Ranges: RangesPython, LayerType: "application/octet-stream", ChecksumBack: true, CheckIDs: true,
	}
}

// PythonToken is the same behind an index: it has no index routes and wants the
// index's token.
func PythonToken() Quirks {
	q := Python()
	q.Name += ", standalone=false"
	q.Standalone, q.NoIndex, q.RequireToken = "False", true, true
	return q
}

// Contrib is the Go server of docker's contrib directory.
func Contrib() Quirks {
	return Quirks{
		Name: "Go contrib", PingBody: "pong", Version: "0.0.1", VersionOnce: true, RequestID: true, QuietError: true,
		Token: TokenNone, EndpointsOnTags: true, Tags: TagMap, EmptyTags: true,
		Ranges: RangesIgnored, LayerType: "application/x-xz", CloseMissing: true,
	}
}

// Ooyala is ooyala's Go server.
func Ooyala() Quirks {
	return Quirks{
		Name: "ooyala", PingBody: "true", Standalone: "true", Version: "0.6.5",
		JSON: "text/plain; charset=utf-8", Cacheable: true, Token: TokenWithWord,
		Tags: TagBare, CheckAgent: true, Uploading: true,
		Ranges: RangesIgnored, LayerType: "application/octet-stream", ChecksumBack: true,
	}
}

// Quay is the v1 API of Quay: no image list, and a cookie instead of the token.
func Quay() Quirks {
	return Quirks{
		Name: "Quay", PingBody: "true", Standalone: "0", Cacheable: true, Token: TokenWithWord,
		SingleUse: true, RequireToken: true, RequireCookie: true, EmptyImages: true,
		Ranges: RangesProper, LayerType: "application/octet-stream",
	}
}

// Named is the preset of a name: python, python-token, contrib, ooyala or quay.
func Named(name string) (Quirks, bool) {
	f, ok := map[string]func() Quirks{
		"python": Python, "python-token": PythonToken, "contrib": Contrib, "ooyala": Ooyala, "quay": Quay,
	}[name]
	if !ok {
		return Quirks{}, false
	}
	return f(), true
}
