package fabblocktest

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// WithText is the identity with text around its certificate.
func WithText(id *msp.Identity) Form {
	return written(id, append([]byte("a text\n"), append(bytes.Clone(id.Credentials()), "another text\n"...)...))
}

// WithOtherSignature is the identity with the second of the two forms of its authority's P-256 signature, which
// anybody can compute.
func WithOtherSignature(id *msp.Identity) Form {
	raw, _ := twin(id.Certificate())
	return written(id, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// LowS is the one of a certificate's two forms whose P-256 signature has a low S.
func LowS(cert *x509.Certificate) []byte {
	raw, low := twin(cert)
	if low {
		return raw
	}
	return cert.Raw
}

// twin is the certificate with the other form of its signature. low says that this is the one with the low S.
func twin(from *x509.Certificate) (raw []byte, low bool) {
	var cert struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(from.Raw, &cert); err != nil {
		panic(err)
	}
	if _, err := asn1.Unmarshal(cert.Signature.Bytes, &pair); err != nil {
		panic(err)
	}
	order := elliptic.P256().Params().N
	pair.S.Sub(order, pair.S)
	sig, err := asn1.Marshal(pair)
	if err != nil {
		panic(err)
	}
	cert.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	if raw, err = asn1.Marshal(cert); err != nil {
		panic(err)
	}
	return raw, pair.S.Cmp(new(big.Int).Rsh(order, 1)) <= 0
}

func written(id *msp.Identity, cert []byte) Form {
	return Form{id, Marshal(&mspproto.SerializedIdentity{Mspid: id.MspID(), IdBytes: cert})}
}
