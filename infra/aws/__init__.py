"""What of AWS a stage consists of: CloudFormation, made by CDK from the registry of job types and the folder of functions."""
