package fabblock

import "fmt"

// A Code says what is wrong with a block or a transaction. Codes are stable: they stand in findings and metrics.
type Code string

const (
	BadBlock       Code = "block.malformed"
	BadNumber      Code = "block.number"
	BadPrevious    Code = "block.previous_hash"
	BadDataHash    Code = "block.data_hash"
	BadMetadata    Code = "block.metadata"
	BadOrderer     Code = "block.orderer_signature"
	BadCodes       Code = "block.validation_codes"
	BadConfig      Code = "block.config"
	BadDefinition  Code = "block.definition"
	BadFraming     Code = "tx.framing"
	BadTx          Code = "tx.malformed"
	BadTxID        Code = "tx.id"
	BadChannel     Code = "tx.channel"
	BadCreator     Code = "tx.creator_signature"
	BadBinding     Code = "tx.proposal_hash"
	BadChaincode   Code = "tx.chaincode"
	BadEndorsement Code = "tx.endorsement"
	BadWriteSet    Code = "tx.write_set"
	HiddenChange   Code = "tx.hidden_change"
)

// texts are what people read for each code, in English and Chinese.
var texts = map[Code][2]string{
	BadBlock:       {"the block cannot be read", "区块无法解析"},
	BadNumber:      {"the block's number is not the next one", "区块编号不连续"},
	BadPrevious:    {"the block does not follow its predecessor", "区块与前一区块的哈希不衔接"},
	BadDataHash:    {"the block's transactions do not match its data hash", "区块内交易与数据哈希不符"},
	BadMetadata:    {"the block's metadata cannot be read", "区块元数据无法解析"},
	BadOrderer:     {"no valid signature of the ordering organisation covers the block", "区块缺少排序组织的有效签名"},
	BadCodes:       {"the block's validation codes are not the ones that its signer sealed", "区块的验证码与签名者封存的不符"},
	BadConfig:      {"the configuration in the block cannot be used", "区块中的配置无法使用"},
	BadDefinition:  {"the contract's definition in the block cannot be used", "区块中的合约定义无法使用"},
	BadFraming:     {"the transaction is not written as orderers write it", "交易的编码不是排序节点的写法"},
	BadTx:          {"the transaction cannot be read", "交易无法解析"},
	BadTxID:        {"the transaction's id does not follow from its nonce and creator", "交易编号与随机数及创建者不符"},
	BadChannel:     {"the transaction belongs to another channel", "交易属于其他通道"},
	BadCreator:     {"the creator's signature is not valid", "交易创建者签名无效"},
	BadBinding:     {"the endorsement covers another proposal", "背书对应的不是此提案"},
	BadChaincode:   {"the transaction names another contract", "交易指向其他合约"},
	BadEndorsement: {"the endorsement policy is not met", "背书不满足背书策略"},
	BadWriteSet:    {"the read and write set cannot be used", "读写集无法使用"},
	HiddenChange:   {"a change of the configuration is called invalid though it is valid", "有效的配置变更被标记为无效"},
}

// An Error is a block or a transaction that does not check. Tx is the transaction's place in the block, or −1 when
// the block itself is meant.
type Error struct {
	Code  Code
	Block uint64
	Tx    int
	Cause error // may be nil
}

func (e *Error) Error() string { return "fabblock: " + e.En() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Where names the block, and the transaction if one is meant.
func (e *Error) Where() string {
	if e.Tx < 0 {
		return fmt.Sprintf("block %d", e.Block)
	}
	return fmt.Sprintf("block %d tx %d", e.Block, e.Tx)
}

// En describes the error in English.
func (e *Error) En() string { return e.describe(0) }

// Zh describes the error in Chinese.
func (e *Error) Zh() string { return e.describe(1) }

func (e *Error) describe(language int) string {
	s := e.Where() + ": " + texts[e.Code][language]
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func blockError(code Code, number uint64, cause error) *Error {
	return &Error{Code: code, Block: number, Tx: -1, Cause: cause}
}
